// The page: from its fields to a mask, and from the mask to what the page says.

"use strict";

(() => {
  const MOST_COINS = 2 ** 20; // Drawn within a moment, on a phone too.
  const FIELDS = [
    "pattern", "shape", "p", "seed", "step", "stream", "law", "axis", "block", "region", "scale",
    "sizes",
  ];

  /** What this page does not draw, although Python does. */
  class TooLarge extends Error {}

  let fields = { ...state.DEFAULTS };
  let shown = null; // {mask, options} of the last arguments that were right.

  // === From the fields to a mask ===============================================================

  function read() {
    for (const name of FIELDS) fields[name] = $(name).value;
  }

  function write() {
    offerAxes([]); // An option of its own for an axis that the pattern may not have.
    for (const name of FIELDS) $(name).value = fields[name];
    if (fields.sizes || fields.stream || fields.scale !== "expected") $("more").open = true;
  }

  /** Draw the mask of a plan. Throws TooLarge. */
  function maskOf(planned, options) {
    const coins = planned.binding.sizes.reduce((a, b) => a * b, 1n);
    if (coins > BigInt(MOST_COINS)) {
      throw new TooLarge(
        `This page draws up to ${reasons.grouped(MOST_COINS)} coins, and these are ` +
        `${reasons.grouped(coins)}. Python draws them all: see the calls below.`);
    }
    return mapdrop.mask(options);
  }

  const argumentError = (error) =>
    error instanceof mapdrop.ValueError || error instanceof mapdrop.ArgumentTypeError;

  function update() {
    $("p-slider").value = fields.p;
    $("axis-field").hidden = fields.law !== "exact" && fields.law !== "balance";
    $("block-fields").hidden = fields.law !== "block";
    showPreset();
    try {
      const options = state.toOptions(fields);
      offerAxes(options);
      const planned = mapdrop.plan(options);
      code.show(planned, options);
      document.body.classList.remove("wrong");
      show(maskOf(planned, options), options);
      showError("");
    } catch (error) {
      if (argumentError(error)) showError(`${error.name}: ${error.message}`);
      else if (error instanceof TooLarge) showError(error.message);
      else throw error;
      document.body.classList.toggle("wrong", argumentError(error));
    }
    saveSoon();
  }

  function showError(text) {
    $("error").textContent = text;
    $("error").hidden = text === "";
    document.body.classList.toggle("stale", text !== "");
  }

  /** Offer the coin axes for `exact` and `balance`; another name stays, for Python's message. */
  function offerAxes(options) {
    let names = [];
    try {
      const free = { ...options, exact: null, balance: null };
      names = Array.isArray(options) ? options : mapdrop.plan(free).binding.names;
    } catch (error) {
      if (!argumentError(error)) throw error; // `update` shows it.
      return;
    }
    const wanted = fields.axis;
    const offered = names.includes(wanted) || wanted === "" ? names : [...names, wanted];
    $("axis").replaceChildren(...offered.map((name) => new Option(name, name)));
    $("axis").value = wanted;
  }

  /** Choose an axis that makes sense, where a law is chosen that needs one. */
  function chooseAxis() {
    if (fields.law !== "exact" && fields.law !== "balance") return;
    const names = [...$("axis").options].map((option) => option.value);
    if (fields.axis === "" && names.length) {
      fields.axis = fields.law === "balance" ? names[0] : names.at(-1);
    }
  }

  // === Presets =================================================================================

  const RESET = [
    "law", "axis", "block", "region", "sizes", "rows", "columns", "maps", "at", "step",
  ];

  function fieldsOf(preset, order) {
    const usual = Object.fromEntries(RESET.map((name) => [name, state.DEFAULTS[name]]));
    const { id, title, channels_last, channels_first, ...rest } = preset;
    return { ...usual, ...rest, ...preset[order] };
  }

  function applyPreset() {
    const preset = presets.find(({ id }) => id === $("preset").value);
    if (!preset) return;
    const order = document.querySelector("input[name=order]:checked").value;
    Object.assign(fields, fieldsOf(preset, order));
    write();
    update();
  }

  const bare = (text) => text.replace(/\s*([,=>-])\s*/g, "$1").replace(/\s+/g, " ").trim();

  /** Show which preset the fields are, in which order of the axes. */
  function showPreset() {
    const said = ["pattern", "law", "block", "sizes"];
    const fits = (preset, order) => {
      const its = fieldsOf(preset, order);
      const axis = fields.law === "exact" || fields.law === "balance" ? ["axis"] : [];
      return [...said, ...axis].every((name) => bare(its[name]) === bare(fields[name]));
    };
    const current = document.querySelector("input[name=order]:checked").value;
    const other = current === "channels_last" ? "channels_first" : "channels_last";
    for (const order of [current, other]) {
      const preset = presets.find((one) => fits(one, order));
      if (!preset) continue;
      $("preset").value = preset.id;
      document.querySelector(`input[value=${order}]`).checked = true;
      $("orders").disabled = false;
      return;
    }
    $("preset").value = "";
    $("orders").disabled = true;
  }

  // === The mask on the page ====================================================================

  function show(mask, options) {
    shown = { mask, options };
    document.body.classList.remove("nothing");
    list($("sentences"), calls.sentences(mask).map((text) => element("li", text)));
    $("warning").hidden = mask.warning === "";
    $("warning").textContent = `Python warns: ${mask.warning}`;
    showNumbers(mask);
    view.show(mask, fields);
  }

  function showNumbers({ coins, kept, sizes, names, p }) {
    const percent = (x) => `${mapdrop.general(100 * x, 4)} %`;
    const axes = names.map((name, i) => `${name} ${sizes[i]}`).join(" × ");
    const shape = names.length ? ` (${axes})` : "";
    const dropped = coins.length ? 1 - kept / coins.length : 0;
    const drawn = `${reasons.grouped(coins.length)} coin${coins.length === 1 ? "" : "s"}${shape}`;
    const fallen = `${reasons.grouped(coins.length - kept)} dropped, ${percent(dropped)}`;
    $("numbers").textContent = coins.length
      ? `${drawn}: ${fallen}, where p is ${percent(p)}`
      : `${drawn}: the array is empty`;
    $("bar").style.width = `${100 * dropped}%`;
    $("mark").style.left = `${100 * p}%`;
  }

  // === Links, copies, files ====================================================================

  let saving = 0;

  function saveSoon() {
    clearTimeout(saving); // Browsers allow few changes of an address in a second.
    saving = setTimeout(save, 200);
  }

  function save() {
    history.replaceState(null, "", `#${state.toFragment(fields)}`);
  }

  function load() {
    fields = state.fromFragment(location.hash);
    write();
    update();
  }

  function download() {
    const { mask, options } = shown;
    const content = {
      call: calls.functions(options)[1], version: 1, names: mask.names, sizes: mask.sizes,
      coins: [...mask.coins], scale: typeof mask.scale === "number" ? mask.scale : [...mask.scale],
    };
    const link = element("a", "", {
      href: URL.createObjectURL(new Blob([JSON.stringify(content)], { type: "application/json" })),
      download: "mask.json" });
    link.click();
    URL.revokeObjectURL(link.href);
    code.say("Saved as mask.json.");
  }

  // === Seeds and steps =========================================================================

  let playing = 0;

  function nextStep() {
    const step = /^\d+$/.test(fields.step.trim()) ? BigInt(fields.step) : -1n;
    fields.step = String(step >= 2n ** 64n - 1n ? 0n : step + 1n);
    write();
    update();
  }

  function play() {
    clearInterval(playing);
    playing = playing ? 0 : setInterval(nextStep, 700);
    $("play").setAttribute("aria-pressed", String(playing !== 0));
    $("play").textContent = playing ? "⏸" : "▶";
  }

  function reseed() {
    fields.seed = String(crypto.getRandomValues(new BigUint64Array(1))[0]);
    write();
    update();
  }

  function start() {
    $("preset").append(new Option("your own pattern", ""),
      ...presets.map(({ id, title }) => new Option(title, id)));
    $("preset").addEventListener("change", applyPreset);
    $("orders").addEventListener("change", applyPreset);
    $("fields").addEventListener("submit", (event) => event.preventDefault());
    for (const name of FIELDS) {
      $(name).addEventListener("input", () => {
        read();
        if (name === "law") chooseAxis();
        update();
      });
    }
    $("p-slider").addEventListener("input", () => {
      $("p").value = $("p-slider").value;
      read();
      update();
    });
    $("reseed").addEventListener("click", reseed);
    $("next").addEventListener("click", nextStep);
    $("play").addEventListener("click", play);
    $("copy-link").addEventListener("click", () => {
      save();
      code.copy(location.href, "The link is copied.");
    });
    $("download").addEventListener("click", download);
    window.addEventListener("hashchange", load);
    view.start(saveSoon);
    load();
  }

  start();
})();
