// The picture on the page: the chosen value, the axes, keys and clicks.

"use strict";

const view = (() => {
  let shown = null; // {mask, roles, position, view, layout} of the last arguments that were right.
  let fields = state.DEFAULTS;
  let changed = () => {};

  /** Show a mask, around the value that the fields name. */
  function show(mask, given) {
    fields = given;
    const rank = mask.binding.shape.length;
    const at = fields.at.split(",").map(Number);
    const position = mask.binding.shape.map((size, axis) =>
      Math.max(0, Math.min(at.length === rank && at[axis] > 0 ? at[axis] : 0, Number(size) - 1)));
    shown = { mask, position, roles: rolesOf(mask.binding) };
    const empty = mask.binding.shape.includes(0n);
    for (const id of ["frame", "details", "value-title", "keys"]) $(id).hidden = empty;
    showRoles();
    if (empty) $("cut").hidden = true;
    else select(position);
  }

  function rolesOf(binding) {
    const roles = picture.usualRoles(binding);
    for (const role of picture.ROLES) {
      const axis = Number(fields[role]);
      if (fields[role] === "-") roles[role] = null;
      else if (fields[role] !== "" && axis in binding.axes) roles[role] = axis;
    }
    return roles;
  }

  /** Show the value at a position, and the picture around it. */
  function select(position) {
    shown.position = position;
    fields.at = position.some((place) => place > 0) ? position.join(",") : "";
    list($("details"), reasons.detailsOf(shown.mask, position).flatMap(([term, text]) =>
      [element("dt", term), element("dd", text)]));
    shown.view = picture.viewOf(shown.mask, shown.roles, position);
    showSteppers();
    showCut(shown.view);
    draw();
    changed();
  }

  function showCut({ rows, columns, maps, whole }) {
    const cut = Object.entries({ rows, columns, maps }).filter(([role, n]) => n < whole[role]);
    $("cut").hidden = cut.length === 0;
    const parts = cut.map(([role, n]) => `${n} of ${reasons.grouped(whole[role])} ${role}`);
    $("cut").textContent = `The picture shows the first ${parts.join(", ")}; ` +
      "the numbers above are of the whole mask.";
  }

  function draw() {
    if (!shown || !shown.view || $("frame").hidden) return;
    const canvas = $("picture");
    const style = getComputedStyle(document.documentElement);
    const names = ["kept", "dropped", "cross", "mate", "ring", "text", "page"];
    const colours = Object.fromEntries(
      names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    const layout = picture.layoutOf(shown.view, $("frame").clientWidth);
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.ceil(layout.width * ratio);
    canvas.height = Math.ceil(layout.height * ratio);
    canvas.style.width = `${layout.width}px`;
    canvas.style.height = `${layout.height}px`;
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    picture.draw(context, shown.view, layout, colours);
    shown.layout = layout;
    canvas.setAttribute("aria-label", describe(shown.view));
  }

  function describe({ mask, roles, position, whole }) {
    const label = (axis) => picture.labelOf(mask.binding.axes[axis]);
    const others = steppedAxes().map((axis) => `${label(axis)} = ${position[axis]}`);
    const maps = `${whole.maps} map${whole.maps === 1 ? "" : "s"}`;
    const size = `${maps} of ${whole.rows} by ${whole.columns} values`;
    return [...others, size].join(", ");
  }

  // === Axes that one steps through, and the axes of the picture ================================

  function steppedAxes() {
    const drawn = Object.values(shown.roles);
    return shown.mask.binding.axes.map((_, axis) => axis)
      .filter((axis) => !drawn.includes(axis) && shown.mask.binding.shape[axis] > 1n);
  }

  function showSteppers() {
    const axes = steppedAxes();
    const known = [...$("steppers").children].map((one) => one.dataset.key).join();
    const { axes: all, shape } = shown.mask.binding;
    const key = (axis) => `${axis}:${picture.labelOf(all[axis])}:${shape[axis]}`;
    if (known !== axes.map(key).join()) {
      list($("steppers"), axes.map((axis) => stepper(axis, key(axis))));
    }
    for (const axis of axes) $(`at-${axis}`).value = shown.position[axis];
  }

  function stepper(axis, key) {
    const name = picture.labelOf(shown.mask.binding.axes[axis]);
    const size = shown.mask.binding.shape[axis];
    const input = element("input", "", {
      id: `at-${axis}`, type: "number", min: 0, max: String(size - 1n), className: "code" });
    input.addEventListener("change", () => moveTo(axis, Math.floor(Number(input.value))));
    const button = (text, by, label) => {
      const made = element("button", text, { type: "button", ariaLabel: `${label} ${name}` });
      made.addEventListener("click", () => moveTo(axis, shown.position[axis] + by));
      return made;
    };
    const box = element("span", "", { className: "stepper" });
    box.dataset.key = key;
    box.append(
      element("label", `${name} =`, { htmlFor: input.id }),
      button("−", -1, "previous"), input, button("+", 1, "next"), element("span", `of ${size}`));
    return box;
  }

  function moveTo(axis, place) {
    const last = Number(shown.mask.binding.shape[axis]) - 1;
    if (!Number.isFinite(place)) return;
    select(shown.position.with(axis, Math.max(0, Math.min(place, last))));
  }

  function showRoles() {
    const { axes } = shown.mask.binding;
    $("axes").hidden = axes.length < 2;
    list($("roles"), picture.ROLES.map((role) => {
      const offered = axes.map((axis, i) => new Option(picture.labelOf(axis), String(i)));
      const options = [new Option("none", "-"), ...offered];
      const chosen = element("select", "", { id: role, className: "code" });
      chosen.append(...options);
      chosen.value = shown.roles[role] === null ? "-" : String(shown.roles[role]);
      chosen.addEventListener("change", () => chooseRole(role, chosen.value));
      const box = element("div", "", { className: "field" });
      box.append(element("label", role, { htmlFor: role }), chosen);
      return box;
    }));
  }

  function chooseRole(role, value) {
    const before = shown.roles;
    for (const name of picture.ROLES) {
      fields[name] = before[name] === null ? "-" : String(before[name]);
    }
    // Two roles of one axis change places.
    const other = picture.ROLES.find((name) => name !== role && fields[name] === value);
    if (other && value !== "-") fields[other] = fields[role];
    fields[role] = value;
    show(shown.mask, fields);
    $(role).focus();
  }

  // === Keys and clicks on the picture ==========================================================

  function onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const { roles, view } = shown;
    const size = { rows: view.rows, columns: view.columns, maps: view.maps };
    const move = (role, by) => {
      if (roles[role] === null) return;
      const place = shown.position[roles[role]] + by;
      select(shown.position.with(roles[role], Math.max(0, Math.min(place, size[role] - 1))));
    };
    const [first] = steppedAxes();
    const step = (by) => first !== undefined && moveTo(first, shown.position[first] + by);
    const keys = {
      ArrowLeft: () => across(-1), ArrowRight: () => across(1),
      ArrowUp: () => move("rows", -1), ArrowDown: () => move("rows", 1),
      PageUp: () => move("maps", -1), PageDown: () => move("maps", 1),
      Home: () => move("columns", -Infinity), End: () => move("columns", Infinity),
      "+": () => step(1), "-": () => step(-1),
    };
    // Beyond a map's last column lies the next map.
    function across(by) {
      const column = roles.columns === null ? 0 : shown.position[roles.columns] + by;
      const map = roles.maps === null ? 0 : shown.position[roles.maps] + by;
      if (column >= 0 && column < size.columns && roles.columns !== null) move("columns", by);
      else if (roles.maps !== null && map >= 0 && map < size.maps) {
        move("maps", by);
        move("columns", by > 0 ? -Infinity : Infinity);
      }
    }
    if (!(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  }

  function onClick(event) {
    const box = $("picture").getBoundingClientRect();
    const { view, layout } = shown;
    const cell = picture.cellAt(view, layout, event.clientX - box.left, event.clientY - box.top);
    if (cell) select(picture.indexAt(view, cell.map, cell.row, cell.column));
  }

  /** Listen to keys, clicks and sizes; `onChange` is called whenever a field has changed. */
  function start(onChange) {
    changed = onChange;
    $("picture").addEventListener("keydown", onKey);
    $("picture").addEventListener("click", onClick);
    new ResizeObserver(draw).observe($("frame"));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  return {
    show, start,
    /** What is drawn now. */
    get shown() {
      return shown;
    },
  };
})();
