// A table of text that the kernel fills: it sorts, filters, pages and answers clicks there.
// All text of events is set as text, never as markup.

const CHOICES = [
  ["only", "Only this"],
  ["not", "Not this"],
  ["pivot", "Pivot on it"],
  ["copy", "Copy as expression"],
];

const MOST_TABS = 12;

function make(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

function button(text, title, click) {
  const element = make("button", "vastlab-button", text);
  element.title = title;
  element.addEventListener("click", click);
  return element;
}

function render({ model, el }) {
  const send = (message) => model.send({ ...message, version: model.get("view").version });
  const root = make("div", "vastlab-table");
  const schemas = make("div", "vastlab-schemas");
  const scroll = make("div", "vastlab-scroll");
  const table = make("table");
  const head = make("thead");
  const body = make("tbody");
  const foot = make("div", "vastlab-foot");
  table.append(head, body);
  scroll.append(table);
  root.append(schemas, scroll, foot);
  el.append(root);
  let drawn = "";
  let menu = null;

  // The last column looks as if it were cut: a shadow says that there are more.
  const shade = () => scroll.classList.toggle(
    "vastlab-more", scroll.scrollLeft + scroll.clientWidth < scroll.scrollWidth - 1);
  const resized = new ResizeObserver(shade);
  resized.observe(scroll);
  resized.observe(table);
  scroll.addEventListener("scroll", shade);

  function closeMenu() {
    if (menu) menu.remove();
    menu = null;
  }

  function openMenu(cell, row, column) {
    closeMenu();
    menu = make("div", "vastlab-menu");
    menu.setAttribute("role", "menu");
    for (const [choice, label] of CHOICES) {
      const entry = button(label, "", (event) => {
        event.stopPropagation();
        closeMenu();
        send({ do: choice, row, column });
      });
      entry.setAttribute("role", "menuitem");
      menu.append(entry);
    }
    const [box, outer] = [cell.getBoundingClientRect(), root.getBoundingClientRect()];
    menu.style.left = `${Math.max(0, Math.min(box.left, outer.right - 180) - outer.left)}px`;
    menu.style.top = `${box.bottom - outer.top}px`;
    root.append(menu);
    menu.firstChild.focus();
  }

  function drawSchemas(view) {
    if (view.schemas.length <= MOST_TABS) {
      schemas.replaceChildren(...view.schemas.map((schema) => {
        const tab = button(schema.label, "", () => send({ do: "schema", name: schema.name }));
        tab.classList.toggle("vastlab-current", schema.chosen);
        return tab;
      }));
      return;
    }
    const list = make("select");
    for (const schema of view.schemas) {
      const option = make("option", "", schema.label);
      option.selected = schema.chosen;
      list.append(option);
    }
    list.addEventListener("change", () =>
      send({ do: "schema", name: view.schemas[list.selectedIndex].name }));
    schemas.replaceChildren(list);
  }

  function drawHead(view) {
    const titles = make("tr");
    const filters = make("tr", "vastlab-filters");
    view.columns.forEach((column, number) => {
      const sign = column.sorted ? (column.sorted === "down" ? " ▼" : " ▲") : "";
      const title = make("th", column.right ? "vastlab-right" : "", column.label + sign);
      title.title = column.type;
      if (view.sorts) {
        title.tabIndex = 0;
        title.addEventListener("click", () => send({ do: "sort", column: number }));
        title.addEventListener("keydown", (event) => {
          if (event.key === "Enter") send({ do: "sort", column: number });
        });
        const filter = make("input");
        filter.value = column.filter;
        filter.placeholder = "filter";
        filter.title = "part of the text, or a comparison such as > 1k";
        filter.addEventListener("change", () =>
          send({ do: "filter", column: number, text: filter.value }));
        const place = make("th");
        place.append(filter);
        filters.append(place);
      }
      titles.append(title);
    });
    head.replaceChildren(titles, ...(view.sorts ? [filters] : []));
  }

  function drawBody(view) {
    const rows = view.rows.map((cells, row) => {
      const line = make("tr", row === view.chosen ? "vastlab-chosen" : "");
      cells.forEach((text, column) => {
        const cell = make("td", view.columns[column].right ? "vastlab-right" : "");
        if (text === null) cell.append(make("span", "vastlab-null", "–"));
        else cell.textContent = text;
        if (view.fixed.includes(column)) {
          cell.classList.add("vastlab-fixed");
        } else {
          const open = () => {
            send({ do: "event", row });
            openMenu(cell, row, column);
          };
          cell.tabIndex = 0;
          cell.addEventListener("click", (event) => {
            event.stopPropagation();
            open();
          });
          cell.addEventListener("keydown", (event) => {
            if (event.key === "Enter") open();
          });
        }
        line.append(cell);
      });
      return line;
    });
    body.replaceChildren(...rows);
  }

  function drawFoot(view) {
    const parts = [make("span", "vastlab-note", view.note)];
    if (view.pages > 1) {
      const go = (page) => () => send({ do: "page", page });
      const number = make("input", "vastlab-page");
      number.value = String(view.page + 1);
      number.title = "page";
      number.addEventListener("change", () =>
        send({ do: "page", page: Number.parseInt(number.value, 10) - 1 || 0 }));
      parts.unshift(
        button("«", "first page", go(0)),
        button("‹", "page before", go(view.page - 1)),
        number,
        make("span", "", `of ${view.pages.toLocaleString()}`),
        button("›", "next page", go(view.page + 1)),
        button("»", "last page", go(view.pages - 1)),
      );
    }
    foot.replaceChildren(...parts);
  }

  function draw() {
    const view = model.get("view");
    const columns = JSON.stringify([view.columns, view.sorts]);
    if (columns !== drawn) drawHead(view);
    drawn = columns;
    drawSchemas(view);
    drawBody(view);
    drawFoot(view);
    root.classList.toggle("vastlab-dimmed", view.dimmed);
  }

  async function copy(message) {
    if (message.copy === undefined) return;
    try {
      await navigator.clipboard.writeText(message.copy);
    } catch {
      // The status line shows the text as well.
    }
  }

  const onKey = (event) => {
    if (event.key === "Escape") closeMenu();
  };
  document.addEventListener("click", closeMenu);
  document.addEventListener("keydown", onKey);
  model.on("change:view", draw);
  model.on("msg:custom", copy);
  draw();
  return () => {
    resized.disconnect();
    document.removeEventListener("click", closeMenu);
    document.removeEventListener("keydown", onKey);
    model.off("change:view", draw);
    model.off("msg:custom", copy);
  };
}

export default { render };
