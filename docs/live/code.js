// Calls on the page, each with a button that copies it.

"use strict";

const code = (() => {
  /** Show the calls that mean the same as these arguments, which `planned` has checked. */
  function show(planned, options) {
    list($("functions"), calls.functions(options).map((call) => codeItem("", call)));
    const best = new Map(); // The name that says most, and Drop, which takes every pattern.
    for (const { library, call } of calls.layers(options)) {
      if (!best.has(library)) best.set(library, codeItem("", `${library}.${call}`));
    }
    list($("layers"), [...best.values()]);
    list($("elsewhere"), calls.elsewhere(planned).map(({ framework, call, note, near }) =>
      codeItem(framework, call, note, near)));
  }

  function codeItem(title, call, note = "", near = false) {
    const item = element("li", "", { className: call ? (near ? "near" : "") : "none" });
    if (title) item.append(element("span", title, { className: "title" }));
    if (call) {
      const button = element("button", "Copy", {
        type: "button", className: "copy", ariaLabel: `Copy ${call}` });
      button.addEventListener("click", () => copy(call, "Copied."));
      item.append(element("code", call), button);
    }
    if (note) item.append(element("span", note, { className: "note" }));
    return item;
  }

  async function copy(text, message) {
    try {
      await navigator.clipboard.writeText(text);
      say(message);
    } catch (error) { // Not allowed, or not there: the text can still be taken by hand.
      window.prompt(`This browser lets no page copy (${error.message}). Copy it here:`, text);
    }
  }

  function say(message) {
    $("done").textContent = message;
    setTimeout(() => { $("done").textContent = ""; }, 2500);
  }

  return { show, copy, say };
})();
