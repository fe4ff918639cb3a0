// What stands in the page's fields: as text, in the address, and as arguments of `mapdrop.mask`.

"use strict";

const state = ((mapdrop) => {
  const DEFAULTS = {
    pattern: "b h w c -> b c", shape: "2, 8, 8, 12", p: "0.5", seed: "7", step: "0", stream: "",
    law: "independent", axis: "", block: "", region: "valid", scale: "expected", sizes: "",
    rows: "", columns: "", maps: "", at: "",
  };
  const ALWAYS = ["pattern", "shape", "p", "seed"];

  // === In the address ==========================================================================

  /** Return the part of an address after "#" that `fromFragment` reads. */
  function toFragment(fields) {
    const said = Object.keys(DEFAULTS).filter((name) =>
      ALWAYS.includes(name) || fields[name] !== DEFAULTS[name]);
    return said.map((name) => `${name}=${readable(fields[name])}`).join("&");
  }

  // A pattern in a link should be readable: only what would be misread is written by its code.
  function readable(text) {
    return encodeURIComponent(text).replace(/%20/g, "+").replace(/%2C/g, ",")
      .replace(/%3D/g, "=").replace(/%3E/g, ">");
  }

  function fromFragment(fragment) {
    const given = new URLSearchParams(fragment.replace(/^#/, ""));
    return Object.fromEntries(Object.entries(DEFAULTS).map(([name, usual]) =>
      [name, given.get(name) ?? usual]));
  }

  // === As arguments ============================================================================

  /** Return what Python would read: an int, a float, or, of anything else, the text. */
  function literal(text) {
    const bare = text.trim();
    if (/^[+-]?\d+$/.test(bare) || /^0x[\da-f]+$/i.test(bare)) return BigInt(bare.replace("+", ""));
    return isNumber(bare) ? Number(bare) : bare;
  }

  const isNumber = (text) => /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text);

  function rate(text) {
    const bare = text.trim();
    return isNumber(bare) ? Number(bare) : bare;
  }

  function shape(text) {
    const bare = text.trim().replace(/^[([](.*)[)\]]$/, "$1").replace(/,\s*$/, "").trim();
    const sizes = bare.replace(/(\d)\s*[x×]\s*(?=\d)/g, "$1,");
    return sizes === "" ? [] : sizes.split(/\s*,\s*|\s+/).map(literal);
  }

  /** Return the sizes in "h=7, w=7". Throws ValueError for anything else. */
  function pairs(text, field) {
    const found = {};
    for (const pair of text.split(",").filter((part) => part.trim() !== "")) {
      const [name, ...size] = pair.split("=").map((part) => part.trim());
      if (name === "" || size.length !== 1) {
        throw new mapdrop.ValueError(
          `${field} are written name=size, as k=4, not ${mapdrop.repr(pair.trim())}`);
      }
      if (name in found) {
        throw new mapdrop.ValueError(`${mapdrop.repr(name)} has a size already, ${found[name]}`);
      }
      found[name] = literal(size[0]);
    }
    return found;
  }

  function sizes(text) {
    const found = pairs(text, "sizes");
    // A keyword of that name is another argument in Python.
    const taken = Object.keys(found).find((name) => mapdrop.ARGUMENTS.includes(name));
    if (taken !== undefined) {
      throw new mapdrop.ValueError(
        `${mapdrop.repr(taken)} is an argument of drop(), not a size: rename the axis`);
    }
    return found;
  }

  /** Return the arguments of `mapdrop.mask` that the fields say. Throws ValueError. */
  function toOptions(fields) {
    const { law, axis } = fields;
    return {
      pattern: fields.pattern,
      shape: shape(fields.shape),
      p: rate(fields.p),
      seed: literal(fields.seed),
      step: literal(fields.step),
      stream: fields.stream === "" ? null : fields.stream,
      exact: law === "exact" ? axis : null,
      balance: law === "balance" ? axis : null,
      block: law === "block" ? pairs(fields.block, "blocks") : {},
      region: law === "block" ? fields.region : "valid",
      scale: fields.scale === "none" ? null : fields.scale,
      sizes: sizes(fields.sizes),
    };
  }

  return { DEFAULTS, toFragment, fromFragment, toOptions };
})(typeof module === "undefined" ? mapdrop : require("./mask-v1.js"));

if (typeof module !== "undefined") module.exports = state;
