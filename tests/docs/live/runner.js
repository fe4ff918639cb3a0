// Answers one line of JSON for each that comes: {"call": name, "with": arguments}.
//
// {"int": "7"} is an int of Python, {"float": "nan"} a float that JSON has not. The folder of the
// scripts is the program's argument.

"use strict";

const { createInterface } = require("readline");
const [, , folder] = process.argv;
const mapdrop = require(`${folder}/mask-v1.js`);
const calls = require(`${folder}/calls.js`);
const presets = require(`${folder}/presets.js`);
const state = require(`${folder}/state.js`);
const picture = require(`${folder}/picture.js`);

const FLOATS = { nan: NaN, inf: Infinity, "-inf": -Infinity };

function revive(_, value) {
  const keys = value && typeof value === "object" ? Object.keys(value) : [];
  if (keys.length === 1 && keys[0] === "int") return BigInt(value.int);
  if (keys.length === 1 && keys[0] === "float") return FLOATS[value.float];
  return value;
}

function bitsOf(scale) {
  const bits = (x) => {
    const view = new DataView(new ArrayBuffer(8));
    view.setFloat64(0, x);
    return view.getBigUint64(0).toString(16).padStart(16, "0");
  };
  return typeof scale === "number" ? [bits(scale)] : Array.from(scale, bits);
}

const hex = (words) => Array.from(words, (word) => word.toString(16).padStart(8, "0")).join(" ");

const ANSWERS = {
  mask(options) {
    const { coins, scale, sizes, names, warning, kept } = mapdrop.mask(options);
    return { coins: coins.join(""), scale: bitsOf(scale), sizes, names, warning, kept };
  },
  plan(options) {
    const { binding } = mapdrop.plan(options);
    return { sizes: binding.sizes.map(String), names: binding.names };
  },
  parse: (text) => ({ left: mapdrop.parse(text).left.length }),
  readings: (texts) => texts.map((text) => attempt(() => ANSWERS.parse(text))),
  repr: (value) => mapdrop.repr(value),
  reprs: (values) => values.map(mapdrop.repr),
  floats: (values) => values.map(mapdrop.floatRepr),
  general: (values) => values.map((value) => [mapdrop.general(value), mapdrop.general(value, 3)]),
  philox: ({ counter, key }) => hex(mapdrop.philox(counter, key)),
  blake2b: (text) => hex(mapdrop.blake2b(new TextEncoder().encode(text))),
  key: ({ seed, stream }) => mapdrop.keyOf(seed, stream).toString(16).padStart(16, "0"),
  word: ({ seed, stream, step, coin }) => hex([mapdrop.word(coin, mapdrop.keyOf(seed, stream), step)]),
  threshold: (p) => mapdrop.threshold(p),
  coins: ({ indices, ...options }) => {
    const mask = mapdrop.mask(options);
    const view = picture.viewOf(mask, picture.usualRoles(mask.binding), []);
    return indices.map((index) => [
      mapdrop.numberOf(mapdrop.coinOf(mask.binding, index), mask.sizes), view.coin(index)]);
  },
  sentences: (options) => calls.sentences(mapdrop.plan(options)),
  elsewhere: (options) => calls.elsewhere(mapdrop.plan(options)),
  functions: (options) => calls.functions(options),
  layers: (options) => calls.layers(options),
  arguments: () => mapdrop.ARGUMENTS,
  presets: () => presets,
  options(fields) {
    const { shape, p, seed, step, ...rest } = state.toOptions({ ...state.DEFAULTS, ...fields });
    const sizes = Object.fromEntries(Object.entries(rest.sizes).map(([k, v]) => [k, Number(v)]));
    const block = Object.fromEntries(Object.entries(rest.block).map(([k, v]) => [k, Number(v)]));
    return { ...rest, sizes, block, shape: shape.map(Number), p };
  },
  fragment: (fields) => state.fromFragment(`#${state.toFragment({ ...state.DEFAULTS, ...fields })}`),
  seconds(options) {
    const start = process.hrtime.bigint();
    mapdrop.mask(options);
    return Number(process.hrtime.bigint() - start) / 1e9;
  },
};

function attempt(answer) {
  try {
    return { value: answer() };
  } catch (error) {
    // Anything but what Python raises is a fault of these scripts.
    if (!(error instanceof mapdrop.ValueError || error instanceof mapdrop.ArgumentTypeError)) {
      return { fault: error.stack };
    }
    return { error: [error.name, error.message] };
  }
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const { call, with: given } = JSON.parse(line, revive);
  process.stdout.write(`${JSON.stringify(attempt(() => ANSWERS[call](given)))}\n`);
});
