// Why a coin is kept or dropped, in the words of docs/mask-v1.md.

"use strict";

const reasons = ((mapdrop) => {
  const hex = (number) => `0x${number.toString(16).padStart(8, "0")}`;
  const grouped = (number) => number.toLocaleString("en");

  /** Return "b = 0, c = 5", or a dash where there is no axis. */
  function named(names, index) {
    return names.map((name, axis) => `${name} = ${index[axis]}`).join(", ") || "the only one";
  }

  /** Return the index of each name of the array at an index, as "(g k)" has one for g and for k. */
  function namesAt(binding, index) {
    return binding.axes.flatMap((factors, axis) => {
      let place = index[axis];
      return [...factors].reverse().map(({ name, size }) => {
        const here = place % Number(size);
        place = Math.floor(place / Number(size));
        return `${name} = ${here}`;
      }).reverse();
    }).join(", ") || "the only one";
  }

  /** Return the coin's word, or null where none is drawn. */
  function wordOf(mask, number) {
    return mask.key === null ? null : mapdrop.word(number, mask.key, mask.step);
  }

  /** Return T as text, with where it comes from. */
  function thresholdText(mask) {
    const T = mapdrop.thresholdOf(mask.law, mask.sizes);
    const from = mask.law.block.length
      ? "round(q × 2³²), for the centres of blocks" : "round(p × 2³²)";
    return `${hex(T)} = ${from}`;
  }

  /** Return why the coin with this number and index is kept or dropped. */
  function reasonOf(mask, number, index) {
    const { law } = mask;
    if (law.p === 0) return "p = 0 keeps every coin, and draws no word.";
    if (law.exact !== null || law.balance !== null) return lineReason(mask, index);
    if (law.block.length) return blockReason(mask, index);
    return mask.coins[number] ? "Its word is T or more." : "Its word is below T.";
  }

  function lineReason(mask, index) {
    const { law, sizes, names, key, step } = mask;
    const axis = law.exact ?? law.balance, n = sizes[axis];
    const numberAt = (place) => mapdrop.numberOf(index.with(axis, place), sizes);
    const own = mapdrop.word(numberAt(index[axis]), key, step);
    let rank = 1;
    for (let place = 0; place < n; place++) {
      const other = mapdrop.word(numberAt(place), key, step);
      if (other > own || (other === own && place < index[axis])) rank += 1;
    }
    const line = mapdrop.numberOf(
      index.filter((_, a) => a !== axis), sizes.filter((_, a) => a !== axis));
    const quota = mapdrop.quotas(law, sizes, key, step)(line);
    const from = law.balance === null
      ? `round((1 − p) × ${n}) = ${quota}`
      : `((2³² − T) × ${n} + u) >> 32 = ${quota}`;
    return `Its word is number ${rank} of the ${n} along ${names[axis]}, the largest first; ` +
      `${from} of them ${quota === 1 ? "is" : "are"} kept.`;
  }

  function blockReason(mask, index) {
    const { law, sizes, names, key, step } = mask;
    const T = mapdrop.thresholdOf(law, sizes);
    let centres = [index], reached = 1;
    for (const block of mapdrop.blockAxes(law, sizes)) {
      const [first, last] = mapdrop.centresOf(block, index[block.axis]);
      const places = Array.from({ length: last - first + 1 }, (_, i) => first + i);
      centres = centres.flatMap((centre) => places.map((place) => centre.with(block.axis, place)));
      reached *= places.length;
    }
    const fallen = centres.filter((centre) =>
      mapdrop.word(mapdrop.numberOf(centre, sizes), key, step) < T);
    const centresText = `${grouped(reached)} centre${reached === 1 ? "" : "s"}`;
    if (!fallen.length) {
      return `Blocks around ${centresText} cover it, and no word of theirs is below T.`;
    }
    const axes = law.block.map(([axis]) => axis);
    const at = named(axes.map((axis) => names[axis]), axes.map((axis) => fallen[0][axis]));
    const more = fallen.length > 1 ? `, and ${fallen.length - 1} more` : "";
    return `Blocks around ${centresText} cover it; the word of the one at ${at} is below T${more}.`;
  }

  /** Return what a value of the coin is multiplied by, as text. */
  function factorOf(mask, number, index) {
    if (!mask.coins[number]) return "0: it becomes +0, whatever it was";
    const scale = typeof mask.scale === "number" ? mask.scale : mask.scale[index[0]];
    return mapdrop.floatRepr(scale);
  }

  /** Return the details of the value at an index of the array, as [term, text] pairs. */
  function detailsOf(mask, index) {
    const coin = mapdrop.coinOf(mask.binding, index);
    const number = mapdrop.numberOf(coin, mask.sizes);
    const word = wordOf(mask, number);
    const values = mask.binding.shape.reduce((a, b) => a * b, 1n);
    const sharing = values / BigInt(mask.coins.length);
    return [
      ["Value", `${namesAt(mask.binding, index)}, which is x[${index.join(", ") || "()"}]`],
      ["Its coin", `${named(mask.names, coin)}, number ${grouped(number)} of ` +
        `${grouped(mask.coins.length)} coins`],
      ["Word", word === null ? "none" : hex(word)],
      ["T", thresholdText(mask)],
      ["Result", `${mask.coins[number] ? "Kept" : "Dropped"}. ${reasonOf(mask, number, coin)}`],
      ["Multiplied by", factorOf(mask, number, coin)],
      ["Shares its coin", sharing === 1n ? "with no other value"
        : `with ${grouped(sharing - 1n)} other value${sharing === 2n ? "" : "s"}: ` +
          `${grouped(sharing)} fall together`],
    ];
  }

  return { detailsOf, reasonOf, hex, grouped };
})(typeof module === "undefined" ? mapdrop : require("./mask-v1.js"));

if (typeof module !== "undefined") module.exports = reasons;
