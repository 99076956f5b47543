// Bars over time, of which a span can be chosen with the mouse. The kernel says where they are.

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 90;
const LEAST = 4; // pixels of a drag; less is a click on one bar

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

function draw(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function render({ model, el }) {
  const root = make("div", "vastlab-histogram");
  const area = make("div", "vastlab-area");
  const brush = make("div", "vastlab-brush");
  const axis = make("div", "vastlab-axis");
  const legend = make("div", "vastlab-legend");
  root.append(area, axis, legend);
  el.append(root);
  let start = null;

  // Labels for which there is no room are left out.
  function thin() {
    let end = -Infinity;
    for (const label of axis.clientWidth ? axis.children : []) {
      const box = label.getBoundingClientRect();
      const fits = box.left >= end;
      label.style.visibility = fits ? "visible" : "hidden";
      if (fits) end = box.right + 8;
    }
  }
  const resized = new ResizeObserver(thin);
  resized.observe(axis);

  function bars(view) {
    const picture = draw("svg", {
      viewBox: `0 0 ${view.slots} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
    });
    for (const bar of view.bars) {
      const group = draw("g", {});
      const title = draw("title", {});
      title.textContent = bar.title;
      group.append(title);
      let top = HEIGHT;
      bar.counts.forEach((count, series) => {
        if (!count) return;
        // The least bar can be seen, also beside one that is a thousand times as high.
        const height = Math.max(1.5, (count / view.highest) * (HEIGHT - 4));
        top -= height;
        group.append(draw("rect", {
          x: bar.slot + 0.05, width: 0.9, y: Math.max(0, top), height,
          fill: view.series[series].color,
        }));
      });
      group.append(draw("rect", { x: bar.slot, width: 1, y: 0, height: HEIGHT, opacity: 0 }));
      picture.append(group);
    }
    for (const cut of view.cuts) {
      picture.append(draw("line", {
        x1: cut + 0.5, x2: cut + 0.5, y1: 0, y2: HEIGHT, class: "vastlab-cut",
        "vector-effect": "non-scaling-stroke",
      }));
    }
    return picture;
  }

  function show() {
    const view = model.get("view");
    root.style.display = view.bars.length ? "" : "none";
    area.replaceChildren(bars(view), brush);
    brush.style.display = "none";
    axis.replaceChildren(...view.ticks.map((tick) => {
      const label = make("span", "", tick.text);
      label.style.left = `${(100 * tick.slot) / view.slots}%`;
      return label;
    }));
    thin();
    legend.replaceChildren(...view.series.map((series) => {
      const entry = make("span");
      const color = make("i");
      color.style.background = series.color;
      entry.append(color, document.createTextNode(series.label));
      return entry;
    }), make("span", "vastlab-note", view.note));
    root.classList.toggle("vastlab-dimmed", view.dimmed);
  }

  const at = (event) => {
    const box = area.getBoundingClientRect();
    return Math.min(Math.max(event.clientX - box.left, 0), box.width);
  };

  function move(event) {
    if (start === null) return;
    const end = at(event);
    brush.style.display = "";
    brush.style.left = `${Math.min(start, end)}px`;
    brush.style.width = `${Math.abs(end - start)}px`;
  }

  function finish(event) {
    if (start === null) return;
    const [end, width] = [at(event), area.getBoundingClientRect().width];
    const slots = model.get("view").slots;
    let [low, high] = [Math.min(start, end), Math.max(start, end)].map((x) => (x / width) * slots);
    if (Math.abs(end - start) < LEAST) [low, high] = [Math.floor(low), Math.floor(low)];
    start = null;
    brush.style.display = "none";
    model.send({ do: "brush", first: Math.floor(low), last: Math.floor(high) });
  }

  area.addEventListener("pointerdown", (event) => {
    start = at(event);
    event.preventDefault();
  });
  window.addEventListener("pointermove", move);
  window.addEventListener("pointerup", finish);
  model.on("change:view", show);
  show();
  return () => {
    resized.disconnect();
    window.removeEventListener("pointermove", move);
    window.removeEventListener("pointerup", finish);
    model.off("change:view", show);
  };
}

export default { render };
