// Ctrl+Enter and Shift+Enter in the query run it, and not the cell around it.

function render({ model, el }) {
  const onKey = (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.shiftKey || event.metaKey)) return;
    const box = el.closest(".vastlab-box");
    const text = event.target.closest?.("textarea");
    if (!box || !text || !box.contains(text)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    model.send({ do: "run", text: text.value });
  };
  // Before the page's own shortcuts.
  window.addEventListener("keydown", onKey, true);
  return () => window.removeEventListener("keydown", onKey, true);
}

export default { render };
