// The mask, version 1, in JavaScript: mapdrop.mask of Python, bit for bit and message for message.
//
// The text is docs/mask-v1.md. One file without dependencies, for a <script> of any page (it
// defines `mapdrop`), for Node and for bundlers (`require`). Seeds, steps and sizes of 64 bits are
// BigInt; whole numbers will do where they are exact.
//
//     mask = mapdrop.mask({ pattern: "b h w c -> b c", shape: [2, 8, 8, 9], p: 0.5, seed: 7 });
//     mask.coins;  // Uint8Array, 1 for kept, in the order of the pattern's right side
//     mask.scale;  // what kept values are multiplied by

"use strict";

// eslint-disable-next-line no-unused-vars -- A page's other scripts use it.
const mapdrop = (() => {
  // === Words: Philox4x32-10 ====================================================================

  const WORD = 2 ** 32;
  const LOW = 0xffff_ffffn;
  const MULTIPLIERS = [0xd251_1f53, 0xcd9e_8d57];
  const WEYL = [0x9e37_79b9, 0xbb67_ae85];

  // Numbers have 53 bits, a product of two words 64: it is put together from halves of words.
  function highWord(a, b) {
    const low = a & 0xffff, high = a >>> 16;
    const otherLow = b & 0xffff, otherHigh = b >>> 16;
    const inner = high * otherLow + ((low * otherLow) >>> 16);
    const outer = low * otherHigh + (inner & 0xffff);
    return high * otherHigh + (inner >>> 16) + (outer >>> 16);
  }

  /** Write the four words of counter (c0 ... c3) and key (k0, k1) to `out` from `at` on. */
  function philoxInto(out, at, c0, c1, c2, c3, k0, k1) {
    for (let round = 0; round < 10; round++) {
      const high0 = highWord(MULTIPLIERS[0], c0), low0 = Math.imul(MULTIPLIERS[0], c0);
      const high1 = highWord(MULTIPLIERS[1], c2), low1 = Math.imul(MULTIPLIERS[1], c2);
      c0 = (high1 ^ c1 ^ k0) >>> 0;
      c1 = low1 >>> 0;
      c2 = (high0 ^ c3 ^ k1) >>> 0;
      c3 = low0 >>> 0;
      k0 = (k0 + WEYL[0]) >>> 0;
      k1 = (k1 + WEYL[1]) >>> 0;
    }
    out[at] = c0;
    out[at + 1] = c1;
    out[at + 2] = c2;
    out[at + 3] = c3;
  }

  /** Return the four words of a counter (four words) and a key (two). */
  function philox(counter, key) {
    const out = new Uint32Array(4);
    philoxInto(out, 0, ...counter, ...key);
    return [...out];
  }

  /** Return the low and the high word of a number of 64 bits. */
  const split = (number) => [Number(number & LOW), Number(number >> 32n)];

  /** Return the words of the `count` coins from number `start` on. */
  function words(count, key, step, start = 0) {
    const [k0, k1] = split(key), [s0, s1] = split(step);
    const first = Math.floor(start / 4), last = Math.ceil((start + count) / 4);
    const out = new Uint32Array(4 * (last - first));
    for (let block = first; block < last; block++) {
      const high = Math.floor(block / WORD);
      philoxInto(out, 4 * (block - first), block >>> 0, high, s0, s1, k0, k1);
    }
    return out.subarray(start - 4 * first, start - 4 * first + count);
  }

  /** Return the word of one coin, whose number may have 64 bits. */
  function word(coin, key, step) {
    const number = BigInt(coin);
    return philox([...split(number >> 2n), ...split(step)], split(key))[Number(number & 3n)];
  }

  // === The key: a seed, and BLAKE2b of the stream's name =======================================

  const ALL_64 = 2n ** 64n - 1n;
  const BLAKE_START = [
    0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
    0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
  ];
  const BLAKE_ORDER = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
  ];
  const BLAKE_COLUMNS = [
    [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15],
    [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
  ];

  // Numbers of 64 bits as BigInt are slow and plain; names are short, and one is hashed for a mask.
  const rotated = (x, by) => ((x >> by) | (x << (64n - by))) & ALL_64;

  function blakeBlock(state, message, bytesSoFar, last) {
    const v = [...state, ...BLAKE_START];
    v[12] ^= BigInt(bytesSoFar);
    if (last) v[14] ^= ALL_64;
    for (let round = 0; round < 12; round++) {
      const order = BLAKE_ORDER[round % 10];
      BLAKE_COLUMNS.forEach(([a, b, c, d], column) => {
        v[a] = (v[a] + v[b] + message[order[2 * column]]) & ALL_64;
        v[d] = rotated(v[d] ^ v[a], 32n);
        v[c] = (v[c] + v[d]) & ALL_64;
        v[b] = rotated(v[b] ^ v[c], 24n);
        v[a] = (v[a] + v[b] + message[order[2 * column + 1]]) & ALL_64;
        v[d] = rotated(v[d] ^ v[a], 16n);
        v[c] = (v[c] + v[d]) & ALL_64;
        v[b] = rotated(v[b] ^ v[c], 63n);
      });
    }
    return state.map((h, i) => h ^ v[i] ^ v[i + 8]);
  }

  /** Return BLAKE2b of some bytes, 16 bytes long, as four little-endian words. */
  function blake2b(bytes) {
    const padded = new Uint8Array(128 * Math.max(1, Math.ceil(bytes.length / 128)));
    padded.set(bytes);
    const view = new DataView(padded.buffer);
    let state = [...BLAKE_START];
    state[0] ^= 0x0101_0010n; // No key, a digest of 16 bytes, no tree.
    for (let at = 0; at < padded.length; at += 128) {
      const message = Array.from({ length: 16 }, (_, i) => view.getBigUint64(at + 8 * i, true));
      const last = at + 128 === padded.length;
      state = blakeBlock(state, message, last ? bytes.length : at + 128, last);
    }
    return [...split(state[0]), ...split(state[1])];
  }

  /** Return the key of a seed and of a stream's name, which may be null. */
  function keyOf(seed, stream = null) {
    if (stream === null) return seed;
    // TextEncoder would write something else in the place of half a character.
    if (/\p{Cs}/u.test(stream)) throw new ValueError("half a character has no UTF-8");
    const [low, high] = philox(blake2b(new TextEncoder().encode(stream)), split(seed));
    return (BigInt(high) << 32n) | BigInt(low);
  }

  // === Numbers and texts as Python writes them =================================================

  const halfToEven = (x) => {
    const floor = Math.floor(x), rest = x - floor;
    return floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0);
  };

  /** Return the repr of a float of Python: 1.0, 1e-07, nan. */
  function floatRepr(x) {
    if (!Number.isFinite(x)) return Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf";
    if (Object.is(x, -0)) return "-0.0";
    const [digits, exponent] = x.toExponential().split("e");
    if (x !== 0 && (exponent < -4 || exponent >= 16)) return `${digits}e${twoDigits(exponent)}`;
    return Number.isInteger(x) ? `${x}.0` : String(x);
  }

  const twoDigits = (exponent) =>
    (exponent < 0 ? "-" : "+") + String(Math.abs(exponent)).padStart(2, "0");

  /** Return a finite number from 0 on in Python's format "g", with so many significant digits. */
  function general(x, precision = 6) {
    if (x === 0) return "0";
    // So many digits are all that matter, and ties are seen in them: they go to even.
    const [mantissa, power] = x.toExponential(100).split("e");
    const digits = mantissa.replace(".", "");
    const tail = digits.slice(precision);
    let rounded = BigInt(digits.slice(0, precision));
    const half = "5".padEnd(tail.length, "0");
    if (tail > half || (tail === half && rounded % 2n === 1n)) rounded += 1n;
    const carried = String(rounded).length > precision;
    const exponent = Number(power) + (carried ? 1 : 0);
    const shown = String(rounded).slice(0, precision);
    const bare = (text) => (text.includes(".") ? text.replace(/\.?0*$/, "") : text);
    if (exponent < -4 || exponent >= precision) {
      return `${bare(`${shown[0]}.${shown.slice(1)}`)}e${twoDigits(exponent)}`;
    }
    if (exponent < 0) return bare(`0.${"0".repeat(-exponent - 1)}${shown}`);
    return bare(`${shown.slice(0, exponent + 1)}.${shown.slice(exponent + 1)}`);
  }

  const UNPRINTABLE = /[\p{C}\p{Z}]/u;
  const printable = (c) => c === " " || !UNPRINTABLE.test(c);
  const ESCAPES = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

  function stringRepr(text) {
    const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
    const escaped = Array.from(text, (c) => {
      if (c === quote) return `\\${c}`;
      if (ESCAPES[c]) return ESCAPES[c];
      if (printable(c)) return c;
      const code = c.codePointAt(0).toString(16);
      return code.length <= 2 ? `\\x${code.padStart(2, "0")}`
        : code.length <= 4 ? `\\u${code.padStart(4, "0")}` : `\\U${code.padStart(8, "0")}`;
    });
    return quote + escaped.join("") + quote;
  }

  /** Return Python's repr of what came; a number without a fraction is an int. */
  function repr(value) {
    if (value === null || value === undefined) return "None";
    if (typeof value === "boolean") return value ? "True" : "False";
    if (typeof value === "string") return stringRepr(value);
    if (Number.isSafeInteger(value)) return `${BigInt(value)}`; // -0 is 0.
    if (typeof value === "number") return floatRepr(value);
    if (Array.isArray(value)) return `[${value.map(repr).join(", ")}]`;
    if (typeof value !== "object") return String(value);
    return `{${Object.entries(value).map(([k, v]) => `${repr(k)}: ${repr(v)}`).join(", ")}}`;
  }

  function typeName(value) {
    if (value === null || value === undefined) return "NoneType";
    if (typeof value === "number") return Number.isSafeInteger(value) ? "int" : "float";
    if (Array.isArray(value)) return "list";
    return { boolean: "bool", string: "str", bigint: "int" }[typeof value] ?? "dict";
  }

  /** Return a shape as Python writes a tuple. */
  const tuple = (sizes) => (sizes.length === 1 ? `(${sizes[0]},)` : `(${sizes.join(", ")})`);

  // A number beyond 2**53 is taken for a float: as an int it is a BigInt.
  const whole = (value) => typeof value === "bigint" || Number.isSafeInteger(value);

  // === The pattern =============================================================================

  /** What Python raises as ValueError. */
  class ValueError extends Error {
    get name() {
      return "ValueError";
    }
  }

  /** What Python raises as TypeError; JavaScript's own says that this file is wrong. */
  class ArgumentTypeError extends TypeError {}

  /** A pattern that cannot be read, or that does not fit the shape; places count characters. */
  class PatternError extends ValueError {
    constructor(reason, pattern, at, instead = "", shape = null) {
      const shown = Array.from(pattern, (c) => (printable(c) ? c : " ")).join("");
      const lines = [reason, `  ${shown}`, `  ${" ".repeat(at)}^`];
      if (shape !== null) lines.push(`  shape: ${tuple(shape)}`);
      if (instead) lines.push(`  instead: ${instead}`);
      super(lines.join("\n"));
      Object.assign(this, { reason, pattern, at, instead, shape });
    }

    get name() {
      return "PatternError";
    }
  }

  const ELLIPSIS = "...";
  // Python's white space, letters and digits, which are not quite JavaScript's.
  const SPACE =
    "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
  const TOKEN = new RegExp(`[${SPACE}]*(->|\\.\\.\\.|[\\p{L}\\p{N}_]+|[^${SPACE}])`, "gu");
  const IDENTIFIER = /^[\p{XIDS}_]\p{XIDC}*$/u;
  const LITERAL = /^[0-9]{1,19}$/;
  // str.isdigit: decimal digits, and those in circles and in the air.
  const DIGITS = new RegExp(
    "^[\\p{Decimal_Number}\\xb2\\xb3\\xb9\\u1369-\\u1371\\u19da\\u2070\\u2074-\\u2079" +
      "\\u2080-\\u2089\\u2460-\\u2468\\u2474-\\u247c\\u2488-\\u2490\\u24ea\\u24f5-\\u24fd\\u24ff" +
      "\\u2776-\\u277e\\u2780-\\u2788\\u278a-\\u2792\\u{10a40}-\\u{10a43}" +
      "\\u{10e60}-\\u{10e68}\\u{11052}-\\u{1105a}" +
      "\\u{1f100}-\\u{1f10a}]+$",
    "u",
  );

  function tokensOf(text) {
    const found = [];
    let units = 0, characters = 0; // Python counts characters, JavaScript units of 16 bits.
    for (const match of text.matchAll(TOKEN)) {
      const at = match.index + match[0].length - match[1].length;
      characters += Array.from(text.slice(units, at)).length;
      units = at;
      found.push({ token: match[1], at: characters });
    }
    return found;
  }

  /**
   * Read a pattern. Throws PatternError.
   *
   * `left` has for each axis of the array its parts as {name, size, at}, and null for "..."; a
   * literal has no name and a name no size. `right` has the names, in the order of the coins.
   */
  function parse(text) {
    if (typeof text !== "string") {
      throw new ArgumentTypeError(
        `a pattern is a string such as 'b h w c -> b c', not ${typeName(text)}`,
      );
    }
    const tokens = tokensOf(text);
    const arrows = tokens.filter(({ token }) => token === "->");
    if (arrows.length !== 1) {
      throw new PatternError(
        `a pattern has one '->', this one has ${arrows.length}`,
        text,
        arrows.length ? arrows[1].at : Array.from(text).length,
        "axes of the array -> axes with coins of their own, as in 'b h w c -> b c'",
      );
    }
    const arrow = tokens.indexOf(arrows[0]);
    const left = parseLeft(text, tokens.slice(0, arrow));
    const names = left.flatMap((part) =>
      part === null ? [ELLIPSIS] : part.map((axis) => axis.name).filter((name) => name !== null));
    return { text, left, names, right: parseRight(text, tokens.slice(arrow + 1), names) };
  }

  function parseLeft(text, tokens) {
    const parts = [], seen = new Set();
    let group = null, opened = 0;
    for (const { token, at } of tokens) {
      const wrong = (reason, instead) => new PatternError(reason, text, at, instead);
      if (seen.has(token)) {
        throw wrong(`${repr(token)} stands twice on the left`, "use another name");
      }
      if (token === "(") {
        if (group !== null) throw wrong("a group inside a group", "one level: (a b c)");
        [group, opened] = [[], at];
      } else if (token === ")") {
        if (group === null) throw wrong("')' without '('", "a group is written (g k)");
        if (group.length === 0) throw wrong("an empty group", "a group is written (g k)");
        parts.push(group);
        group = null;
      } else if (token === ELLIPSIS) {
        if (group !== null) throw wrong("'...' inside a group", "'...' outside of ( )");
        seen.add(token);
        parts.push(null);
      } else {
        const literal = LITERAL.test(token);
        if (!literal && !IDENTIFIER.test(token)) {
          throw wrong(`${repr(token)} means nothing here`, "names, '...', '(g k)', sizes and '->'");
        }
        if (!literal) seen.add(token);
        const axis = { name: literal ? null : token, size: literal ? BigInt(token) : null, at };
        if (group === null) parts.push([axis]);
        else group.push(axis);
      }
    }
    if (group !== null) {
      throw new PatternError("'(' is never closed", text, opened, "a group is written (g k)");
    }
    return parts;
  }

  function parseRight(text, tokens, names) {
    const right = [];
    for (const { token, at } of tokens) {
      const wrong = (reason, instead) => new PatternError(reason, text, at, instead);
      if (token === "1") continue; // A placeholder, for those who think of the mask's full shape.
      if (token === "(" || token === ")") {
        throw wrong("the right side has no groups", "the names alone: their order counts");
      }
      if (right.includes(token)) {
        throw wrong(`${repr(token)} stands twice on the right`, "list it once");
      }
      if (!names.includes(token)) {
        const what = DIGITS.test(token)
          ? "a size, and the right side has names" : "not an axis on the left";
        const known = [...names].sort(byCodePoints).join(", ") || "none";
        throw wrong(
          `${repr(token)} is ${what}`,
          `name it on the left, or take it out; on the left are ${known}`,
        );
      }
      right.push(token);
    }
    return right;
  }

  // The order of UTF-16 units, JavaScript's own, is another beyond U+FFFF.
  function byCodePoints(one, other) {
    const a = Array.from(one, (c) => c.codePointAt(0));
    const b = Array.from(other, (c) => c.codePointAt(0));
    const place = a.findIndex((code, i) => code !== b[i]);
    return place < 0 ? a.length - b.length : a[place] - (b[place] ?? -1);
  }

  const axisText = ({ name, size }) => name ?? String(size);

  /** Return an error that points at an axis, or at the start if there is none of that name. */
  function errorAt(pattern, reason, name, instead, shape) {
    const axis = pattern.left.flatMap((part) => part ?? []).find((one) => one.name === name);
    return new PatternError(reason, pattern.text, axis ? axis.at : 0, instead, shape);
  }

  // === The pattern fitted to a shape ===========================================================

  // The arguments of `drop` and `mask` in Python: a size cannot be passed under one of these names.
  const ARGUMENTS = [
    "x", "shape", "pattern", "seed", "stream", "step", "scale", "inplace", "out",
    "p", "exact", "balance", "block", "region",
  ];
  const product = (sizes) => sizes.reduce((a, b) => a * b, 1n);

  /**
   * Fit a pattern to a shape. Throws PatternError.
   *
   * Sizes are BigInt, since products of them may have any length. `axes` has for each axis of the
   * array its factors as {name, size, coin}, where `coin` is the index of the coin axis, or null;
   * `names` and `sizes` are those of the coin axes, in the order of the coins.
   */
  function bind(text, shape, given = {}) {
    const pattern = parse(text);
    const known = new Map();
    for (const [name, size] of Object.entries(given)) {
      if (!whole(size) || size < 1) {
        throw errorAt(
          pattern, `${name}=${repr(size)} is not a size`, name, "a whole number of at least 1",
          shape);
      }
      known.set(name, BigInt(size));
    }
    checkNames(pattern, known, shape);
    const parts = spread(pattern, shape).map((part, i) =>
      factors(pattern, part, shape[i], known, shape));
    const covered = parts.flat().filter((axis) => axis.at < 0).map((axis) => axis.name);
    const names = pattern.right.flatMap((name) => (name === ELLIPSIS ? covered : [name]));
    const size = new Map(parts.flat().map((axis) => [axis.name, axis.size]));
    const axes = parts.map((part) =>
      part.map((axis) => {
        const coin = axis.name === null ? -1 : names.indexOf(axis.name);
        return { name: axisText(axis), size: axis.size, coin: coin < 0 ? null : coin };
      }));
    return { pattern, shape, axes, names, sizes: names.map((name) => size.get(name)) };
  }

  function checkNames(pattern, known, shape) {
    for (const [name, size] of known) {
      if (!pattern.names.includes(name) || name === ELLIPSIS) {
        throw new PatternError(
          `${name}=${size} gives a size for an axis that the pattern does not name`,
          pattern.text,
          0,
          `a keyword among ${pattern.names.join(", ")}, or name ${repr(name)} on the left`,
          shape,
        );
      }
    }
  }

  /** Return one part for each axis of the shape; those that "..." stands for have at = -1. */
  function spread(pattern, shape) {
    const named = pattern.left.filter((part) => part !== null).length;
    const open = named < pattern.left.length;
    const rest = shape.length - named;
    if (rest < 0 || (rest > 0 && !open)) {
      throw new PatternError(
        `the pattern names ${open ? "at least " : ""}${named} axes, the array has ${shape.length}`,
        pattern.text,
        0,
        "a name for each axis, or '...' for any number of them",
        shape,
      );
    }
    const covered = Array.from({ length: Math.max(rest, 0) }, (_, j) => [
      { name: `${ELLIPSIS}${j}`, size: null, at: -1 },
    ]);
    return pattern.left.flatMap((part) => (part === null ? covered : [part]));
  }

  /** Return an axis's parts with their sizes, of which at most one may be unknown. */
  function factors(pattern, part, size, given, shape) {
    const wrong = (reason, at, instead) =>
      new PatternError(reason, pattern.text, at, instead, shape);
    const sizes = part.map((axis) => given.get(axis.name) ?? axis.size);
    const missing = part.filter((_, i) => sizes[i] === null);
    const at = Math.max(part[0].at, 0);
    if (missing.length > 1) {
      const second = missing[1];
      throw wrong(
        `the sizes of ${missing.map((axis) => repr(axis.name)).join(", ")} are open`,
        second.at,
        ARGUMENTS.includes(second.name)
          ? `write a number in the pattern, or rename ${repr(second.name)}, which is an argument ` +
            "of drop()"
          : `pass one of the sizes (${second.name}=2), or write a number in the pattern`,
      );
    }
    const total = product(sizes.filter((n) => n !== null));
    if (missing.length === 1) {
      if (total === 0n || size % total !== 0n) {
        throw wrong(
          `an axis of ${size} does not split into parts of ${total}`,
          at,
          `a size that divides ${size}`,
        );
      }
      sizes[sizes.indexOf(null)] = size / total;
    } else if (total !== size) {
      throw wrong(
        `${part.map(axisText).join(" x ")} is ${total}, the array's axis has ${size}`,
        at,
        `sizes whose product is ${size}`,
      );
    }
    return part.map((axis, i) => ({ ...axis, size: sizes[i] }));
  }

  /** Return the index of the coin axis `name`, given as `argument`. Throws PatternError. */
  function coinAxis(binding, argument, name) {
    const { pattern, names, shape } = binding;
    if (!names.includes(name)) {
      throw errorAt(
        pattern,
        `${argument}=${repr(name)} does not name an axis with coins of its own`,
        name,
        `one of ${names.map(repr).join(", ") || "none: the right side is empty"}`,
        shape,
      );
    }
    return names.indexOf(name);
  }

  /** Return the index of the coin that decides the value at `index`. */
  function coinOf(binding, index) {
    const coin = binding.names.map(() => 0);
    binding.axes.forEach((axis, i) => {
      let place = index[i];
      for (const factor of [...axis].reverse()) {
        const size = Number(factor.size);
        if (factor.coin !== null) coin[factor.coin] = place % size;
        place = Math.floor(place / size);
      }
    });
    return coin;
  }

  /** Return the number of the coin at `index`: row-major, the last axis varies fastest. */
  const numberOf = (index, sizes) => index.reduce((number, i, axis) => number * sizes[axis] + i, 0);

  // === Which coins are kept ====================================================================

  const many = (sizes) => sizes.reduce((a, b) => a * b, 1);

  /** Return T: a coin is dropped when its word is below. */
  const threshold = (p) => halfToEven(p * WORD);

  /** Return how many of n coins `exact` keeps. */
  const survivors = (p, n) => halfToEven((1 - p) * n);

  /** Return the axes of blocks as {axis, size, length, first, last}: where centres may lie. */
  function blockAxes(law, sizes) {
    return law.block.map(([axis, size]) => {
      const length = sizes[axis];
      const k = size < length ? Number(size) : length;
      const below = Math.floor(k / 2);
      const [first, last] = law.region === "valid" ? [below, length - k + below] : [0, length - 1];
      return { axis, size: k, length, first, last };
    });
  }

  /** Return the first and the last centre whose block covers a place. */
  function centresOf(block, place) {
    const below = Math.floor(block.size / 2);
    return [
      Math.max(place - (block.size - 1) + below, block.first), Math.min(place + below, block.last),
    ];
  }

  /** Return q, the probability of a centre with which a place is dropped with p on average. */
  function centreRate(law, sizes) {
    if (law.p === 0 || law.p === 1) return law.p;
    let reaches = new Map([[1, 1]]); // How many centres reach a place, and for how many places.
    for (const block of blockAxes(law, sizes)) {
      const wider = new Map();
      for (let place = 0; place < block.length; place++) {
        const [low, high] = centresOf(block, place);
        for (const [centres, places] of reaches) {
          const number = centres * (high - low + 1);
          wider.set(number, (wider.get(number) ?? 0) + places);
        }
      }
      reaches = wider;
    }
    const all = [...reaches.values()].reduce((a, b) => a + b);
    let low = 0, high = 1;
    for (let halving = 0; halving < 64; halving++) {
      const q = (low + high) / 2;
      let dropped = 0;
      for (const [centres, places] of reaches) {
        dropped += -Math.expm1(centres * Math.log1p(-q)) * places;
      }
      if (q === 1 || dropped / all >= law.p) high = q;
      else low = q;
    }
    return high;
  }

  /** Return T of a law: of its centres, where it has blocks. */
  const thresholdOf = (law, sizes) => threshold(law.block.length ? centreRate(law, sizes) : law.p);

  /** Call `each` for every line of coins along an axis: its number, first coin and stride. */
  function lines(sizes, axis, each) {
    const inner = many(sizes.slice(axis + 1)), outer = many(sizes.slice(0, axis));
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < inner; i++) each(o * inner + i, o * sizes[axis] * inner + i, inner);
    }
  }

  /** Return a function of a line's number: how many of its coins are kept. */
  function quotas(law, sizes, key, step) {
    const n = sizes[law.exact ?? law.balance];
    if (law.exact !== null) {
      const quota = survivors(law.p, n);
      return () => quota;
    }
    // ((2**32 - T) * n + u) >> 32, whose first term is the same for all lines.
    const [low, high] = split(BigInt(WORD - threshold(law.p)) * BigInt(n));
    const count = many(sizes);
    const extra = words(n ? count / n : 0, key, step, count);
    return (line) => high + (low + extra[line] >= WORD ? 1 : 0);
  }

  /** Return the places of a line's coins, those that stay longest first. */
  function ranked(drawn, start, stride, n) {
    const places = Array.from({ length: n }, (_, place) => place);
    const at = (place) => drawn[start + place * stride];
    return places.sort((one, other) => at(other) - at(one) || one - other);
  }

  function keepLargest(law, sizes, key, step) {
    const drawn = words(many(sizes), key, step);
    const kept = new Uint8Array(drawn.length);
    const quota = quotas(law, sizes, key, step);
    const axis = law.exact ?? law.balance;
    lines(sizes, axis, (line, start, stride) => {
      for (const place of ranked(drawn, start, stride, sizes[axis]).slice(0, quota(line))) {
        kept[start + place * stride] = 1;
      }
    });
    return kept;
  }

  /** Return what is kept where each dropped coin of `kept` drops a block along an axis. */
  function eroded(kept, sizes, block) {
    const result = new Uint8Array(kept.length).fill(1);
    const below = Math.floor(block.size / 2);
    lines(sizes, block.axis, (_, start, stride) => {
      for (let centre = block.first; centre <= block.last; centre++) {
        if (kept[start + centre * stride]) continue;
        const end = Math.min(centre - below + block.size, block.length);
        for (let place = Math.max(centre - below, 0); place < end; place++) {
          result[start + place * stride] = 0;
        }
      }
    });
    return result;
  }

  /** Return which coins are kept, 1 for each. */
  function keep(law, sizes, key, step) {
    if (many(sizes) === 0) return new Uint8Array(0);
    if (law.exact !== null || law.balance !== null) return keepLargest(law, sizes, key, step);
    const T = thresholdOf(law, sizes);
    const kept = Uint8Array.from(words(many(sizes), key, step), (w) => (w >= T ? 1 : 0));
    return blockAxes(law, sizes).reduce((made, block) => eroded(made, sizes, block), kept);
  }

  // === What kept values are multiplied by ======================================================

  const ratio = (drawn, kept) => (kept > 0 ? drawn / kept : 0);

  /** Return a number, or one for each index of the first coin axis. */
  function scaleOf(kind, law, sizes, kept) {
    if (kind === null) return 1;
    if (kind === "expected") {
      if (law.exact === null) return law.p < 1 ? 1 / (1 - law.p) : 0;
      return ratio(sizes[law.exact], survivors(law.p, sizes[law.exact]));
    }
    const rows = kind === "sample" && sizes.length > 0 ? sizes[0] : 1;
    const drawn = kind === "sample" ? many(sizes.slice(1)) : many(sizes);
    const scales = Float64Array.from({ length: rows }, (_, row) =>
      ratio(drawn, kept.subarray(row * drawn, (row + 1) * drawn).reduce((a, b) => a + b, 0)));
    return rows === 1 ? scales[0] : scales;
  }

  // === The arguments ===========================================================================

  const MOST_COINS = 2 ** 24;

  function uint64(value, name) {
    if (!whole(value)) {
      throw new ArgumentTypeError(
        `${name} is a whole number from 0 to 2**64 - 1, not ${repr(value)} ` +
          `of type ${typeName(value)}`,
      );
    }
    const number = BigInt(value);
    if (number < 0n || number > ALL_64) {
      throw new ValueError(`${name} is a whole number from 0 to 2**64 - 1, not ${number}`);
    }
    return number;
  }

  function checkRate(p) {
    if (typeof p !== "number" && typeof p !== "bigint") {
      throw new ArgumentTypeError(
        `p is the fraction to drop, a number from 0 to 1, not ${repr(p)}`,
      );
    }
    if (!(p >= 0 && p <= 1)) {
      throw new ValueError(`p is the fraction to drop, from 0 to 1, not ${repr(p)}`);
    }
    return Number(p);
  }

  function oneOf(value, name, choices) {
    if (!choices.includes(value)) {
      throw new ValueError(
        `${name} is one of ${choices.map(repr).join(", ")}, not ${repr(value)}`,
      );
    }
  }

  function blockSize(name, size) {
    if (!whole(size) || size < 1) {
      throw new ValueError(
        `block={${repr(name)}: ${repr(size)}} is not a size: a whole number from 1 on`,
      );
    }
    return BigInt(size);
  }

  function checkMapping(value, argument) {
    if (value === null || typeof value !== "object" || Array.isArray(value)) {
      throw new ArgumentTypeError(
        `${argument} gives a size for each axis, as in dict(h=7, w=7): ${repr(value)}`,
      );
    }
  }

  function checkStream(stream) {
    if (stream !== null && typeof stream !== "string") {
      throw new ArgumentTypeError(`stream is a name (a string) or None, not ${repr(stream)}`);
    }
  }

  /** Return what Python warns of where `exact` drops another fraction than p, or "". */
  function warningOf(law, binding, sizes) {
    if (law.exact === null || sizes[law.exact] === 0) return "";
    const name = repr(binding.names[law.exact]), n = sizes[law.exact];
    const dropped = n - survivors(law.p, n), rate = dropped / n;
    if (Math.abs(rate - law.p) <= 0.1 * Math.min(law.p, 1 - law.p)) return "";
    return (
      `exact=${name} always drops ${dropped} of ${n}, which is ${general(rate, 3)} and ` +
      `not p=${general(law.p)}: balance=${name} drops as evenly, at the rate asked for`
    );
  }

  /** Return the law: its axes by their numbers, `block` as [axis, size] pairs. Throws. */
  function lawOf(binding, p, { exact, balance, block, region }) {
    const tied = [["exact", exact], ["balance", balance]].map(([argument, name]) =>
      name === null ? null : coinAxis(binding, argument, name));
    const blocks = Object.entries(block).map(([name, size]) => [
      coinAxis(binding, "block", name), blockSize(name, size),
    ]);
    blocks.sort((one, other) => one[0] - other[0]);
    return { p, exact: tied[0], balance: tied[1], block: blocks, region };
  }

  /**
   * Check and bind what Python's `mapdrop.mask` takes, in its order, and so with its messages.
   *
   * Returns what a mask has, but for its coins. `sizes` has the sizes of names inside groups, which
   * are keywords in Python. Throws TypeError, ValueError and PatternError.
   */
  function plan({
    pattern, shape, p, seed, stream = null, step = 0n, exact = null, balance = null, block = {},
    region = "valid", scale = "expected", sizes: given = {},
  }) {
    const fixed = Array.from(shape, (n) => uint64(n, "a size of the shape"));
    block ??= {};
    checkMapping(block, "block");
    const rate = checkRate(p);
    oneOf(region, "region", ["valid", "full"]);
    oneOf(scale, "scale", ["expected", "sample", "batch", null]);
    const laws = Object.entries({ exact, balance, block: Object.keys(block).length });
    const said = laws.filter(([, value]) => value).map(([name]) => name);
    if (said.length > 1) {
      throw new ValueError(`${said.join(" and ")} exclude each other: give one of them`);
    }
    const binding = bind(pattern, fixed, given);
    const law = lawOf(binding, rate, { exact, balance, block, region });
    const warning = warningOf(law, binding, binding.sizes.map(Number));
    checkStream(stream);
    const number = uint64(step, "step");
    // With p = 0 no word is needed, and Python does not look at the seed.
    const key = rate === 0 ? null : keyOf(uint64(seed, "seed"), stream);
    return { binding, law, scale, p: rate, key, step: number, warning };
  }

  /**
   * Return the mask of Python's `mapdrop.mask`.
   *
   * It has `coins` (1 is kept), `sizes` (the coins' shape) and `names`, `scale` (a number, or with
   * "sample" a Float64Array of one for each index of the first coin axis), `kept` (how many coins),
   * `warning` (what Python warns of, or ""), and what `plan` returns. Throws as `plan` does, and
   * RangeError for more than `MOST_COINS`, which only Python draws.
   */
  function mask(options) {
    const planned = plan(options);
    const { binding, law, key, step, p } = planned;
    const count = product(binding.sizes);
    if (count > BigInt(MOST_COINS)) {
      throw new RangeError(`${count} coins are too many to draw here: at most ${MOST_COINS}`);
    }
    const sizes = binding.sizes.map(Number);
    const coins = p === 0 ? new Uint8Array(many(sizes)).fill(1) : keep(law, sizes, key, step);
    const scale = p === 0 ? 1 : scaleOf(planned.scale, law, sizes, coins);
    const kept = coins.reduce((a, b) => a + b, 0);
    return { ...planned, names: binding.names, sizes, coins, scale, kept };
  }

  return {
    mask, plan, parse, bind, coinOf, numberOf,
    PatternError, ValueError, ArgumentTypeError, ARGUMENTS, MOST_COINS,
    philox, blake2b, keyOf, word, words, threshold, thresholdOf, survivors, quotas, ranked,
    blockAxes, centresOf, repr, floatRepr, general,
  };
})();

if (typeof module !== "undefined") module.exports = mapdrop;
