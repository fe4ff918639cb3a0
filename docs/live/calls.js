// What a pattern does in words, and the calls that mean the same: mapdrop's, and other libraries'.
//
// `sentences` and `elsewhere` say what `mapdrop explain` says (src/mapdrop/tools/explain); a test
// compares them with Python on drawn patterns. All take what `mapdrop.plan` returns.

"use strict";

const calls = ((mapdrop) => {
  const { repr, floatRepr, general } = mapdrop;

  /** Return a tuple as Python writes it. */
  function tuple(items) {
    return items.length === 1 ? `(${items[0]},)` : `(${items.join(", ")})`;
  }

  // === What falls together =====================================================================

  function sentences({ binding, law }) {
    const tied = lawSentence(law, binding);
    return [fallTogether(binding.pattern), ...(tied ? [tied] : [])];
  }

  function fallTogether({ left, right, names: all }) {
    const names = left.flatMap((part) => {
      if (part === null) return right.includes("...") ? [] : ["..."];
      const group = part.map(({ name, size }) => name ?? size).join(" ");
      const of = part.length > 1 ? ` of (${group})` : "";
      return part
        .filter(({ name }) => name === null || !right.includes(name))
        .map(({ name, size }) => name ?? `the ${size}${of}`);
    });
    if (names.length === 0) return "Every value has a coin of its own.";
    if (right.length === 0) return "One coin decides for the whole array.";
    return `Values that differ only along ${names.join(", ")} share a coin and fall together.`;
  }

  function lawSentence(law, { names, sizes }) {
    if (law.block.length) {
      const sides = law.block.map(([axis, side]) => (side < sizes[axis] ? side : sizes[axis]));
      const along = law.block.map(([axis]) => names[axis]).join(", ");
      return `Coins fall in blocks of ${sides.join(" x ")} along ${along}.`;
    }
    const axis = law.exact ?? law.balance;
    if (axis === null) return "";
    const n = Number(sizes[axis]);
    const many = law.exact !== null
      ? `exactly ${mapdrop.survivors(law.p, n)} survive`
      : `${general((1 - law.p) * n)} survive, rounded up or down`;
    return `Of each ${n} coins along ${names[axis]} ${many}.`;
  }

  // === Other libraries =========================================================================

  /**
   * Return the law along each axis of the array.
   *
   * `own` is true where its places have coins of their own, false where they share one, and null
   * where some of a split axis share; `block` has the size of blocks, 1 where there are none.
   */
  function structure({ binding, law }) {
    const sides = new Map(law.block);
    const own = [], block = [];
    for (const factors of binding.axes) {
      // A factor of one place has one coin either way, unless it is all there is.
      const larger = factors.filter(({ size }) => size > 1n);
      const counted = larger.length ? larger : factors.slice(0, 1);
      const drawn = new Set(counted.map(({ coin }) => coin !== null));
      const side = counted.reduce((most, { coin }) => {
        const here = Number(sides.get(coin) ?? 1);
        return here > most ? here : most;
      }, 1);
      const split = drawn.size > 1 || (side > 1 && counted.length > 1);
      own.push(split ? null : drawn.has(true));
      block.push(side);
    }
    const tied = law.exact !== null ? "exact" : law.balance !== null ? "balance" : null;
    return { own, block, tied };
  }

  const OTHER_RATE = "only near: it drops another rate than p, and scales by the batch's count";
  const PATHS = "only paths and blocks";
  const none = (note) => [{ call: "", note, near: false }];
  const same = (call) => ({ call, note: "", near: false });
  const near = (call) => [{ call, note: OTHER_RATE, near: true }];
  const equal = (one, other) => JSON.stringify(one) === JSON.stringify(other);

  /** Say why no mask that broadcasts, of independent coins, has this law; "" where one has. */
  function obstacle({ own, block, tied }, blocks = false) {
    if (tied) return `coins fall independently, so there is no ${tied}=`;
    if (own.includes(null)) {
      const axis = own.indexOf(null);
      return `axis ${axis} is split, and masks have one coin along it or one for each place`;
    }
    if (block.some((side) => side > 1)) {
      return blocks ? "only square blocks of an odd size, on the last axes" : "no blocks";
    }
    return "";
  }

  /** Return the side of blocks as others know them: odd, on all axes from the third; or 0. */
  function blockSide({ own, block, tied, shape }) {
    const [side, ...others] = new Set(block.slice(2));
    if (tied || own.includes(null) || shape.length < 4 || shape.length > 5) return 0;
    if (others.length || block[0] > 1 || block[1] > 1 || side % 2 === 0 || side === 1) return 0;
    return shape.slice(2).every((n) => side <= n) ? side : 0;
  }

  const LIBRARIES = {
    PyTorch(ask) {
      const reason = obstacle(ask);
      if (reason) return none(reason);
      if (ask.ordinary) return [same(`nn.Dropout(${ask.p})(x)`)];
      const rank = ask.shape.length, own = ask.independent;
      if (own.length !== 2 || rank < 3 || rank > 5) return none("no layer takes a mask shape");
      const layer = `nn.Dropout${rank - 2}d(${ask.p})`;
      if (equal(own, [0, 1])) return [same(`${layer}(x)`)];
      // It drops along axes 0 and 1 only, so the two with coins of their own are moved there.
      const [here, there] = own[0] === 0 ? [own[1], 1] : [tuple(own), tuple([0, 1])];
      return [same(`${layer}(x.movedim(${here}, ${there})).movedim(${there}, ${here})`)];
    },
    torchvision(ask) {
      const side = blockSide(ask);
      if (side && !ask.ordinary) return none("blocks have coins of their own in every map");
      if (side) return near(`drop_block${ask.shape.length - 2}d(x, ${ask.p}, block_size=${side})`);
      if (ask.plain && (equal(ask.independent, []) || equal(ask.independent, [0]))) {
        const mode = ask.independent.length ? "row" : "batch";
        return [same(`stochastic_depth(x, ${ask.p}, mode="${mode}")`)];
      }
      return none(obstacle(ask, true) || PATHS);
    },
    timm(ask) {
      const side = blockSide(ask);
      const coupled = equal(ask.own, [true, false, true, true]);
      if (side && ask.shape.length === 4 && (ask.ordinary || coupled)) {
        const couple = ask.ordinary ? "False" : "True";
        return near(`DropBlock2d(${ask.p}, ${side}, couple_channels=${couple})(x)`);
      }
      if (ask.plain && equal(ask.independent, [0])) return [same(`DropPath(${ask.p})(x)`)];
      return none(obstacle(ask, true) || PATHS);
    },
    Keras(ask) {
      const reason = obstacle(ask);
      if (reason) return none(reason);
      if (ask.ordinary) return [same(`layers.Dropout(${ask.p})(x)`)];
      const rank = ask.shape.length;
      const noise = tuple(ask.own.map((own) => (own ? "None" : "1")));
      const general = same(`layers.Dropout(${ask.p}, noise_shape=${noise})(x)`);
      const layer = `layers.SpatialDropout${rank - 2}D`;
      const last = equal(ask.independent, [0, rank - 1]);
      if ((!last && !equal(ask.independent, [0, 1])) || rank < 3 || rank > 5) return [general];
      const format = last ? "channels_last" : "channels_first";
      if (rank > 3) return [same(`${layer}(${ask.p}, data_format="${format}")(x)`), general];
      // channels_last is the only format that SpatialDropout1D knows.
      return last ? [same(`${layer}(${ask.p})(x)`), general] : [general];
    },
    TensorFlow(ask) {
      const reason = obstacle(ask);
      if (reason) return none(reason);
      if (ask.ordinary) return [same(`tf.nn.dropout(x, ${ask.p})`)];
      const noise = tuple(ask.shape.map((n, axis) => (ask.own[axis] ? n : 1)));
      return [same(`tf.nn.dropout(x, ${ask.p}, noise_shape=${noise})`)];
    },
    Flax(ask) {
      const reason = obstacle(ask);
      if (reason) return none(reason);
      // The axes that share a coin.
      const shared = ask.own.flatMap((own, axis) => (own === false ? [axis] : []));
      const dims = shared.length ? `, broadcast_dims=${tuple(shared)}` : "";
      return [same(`nnx.Dropout(${ask.p}${dims}, rngs=rngs)(x)`)];
    },
    Paddle(ask) {
      const reason = obstacle(ask);
      if (reason) return none(reason);
      if (ask.ordinary) return [same(`F.dropout(x, ${ask.p})`)];
      if (!ask.independent.length) return none("its axis= cannot be empty");
      // The axes that have coins of their own: the opposite of Flax's argument.
      return [same(`F.dropout(x, ${ask.p}, axis=[${ask.independent.join(", ")}])`)];
    },
  };

  /** Return {framework, call, note, near} of each library; without a call, `note` says why. */
  function elsewhere(planned) {
    const found = structure(planned);
    const ask = {
      ...found,
      shape: planned.binding.shape,
      p: floatRepr(planned.p),
      ordinary: found.own.every((own) => own === true),
      independent: found.own.flatMap((own, axis) => (own ? [axis] : [])),
      plain: !found.own.includes(null) && !found.tied && found.block.every((side) => side === 1),
    };
    return Object.entries(LIBRARIES).flatMap(([framework, answer]) =>
      answer(ask).map((found) => ({ framework, ...found })));
  }

  // === mapdrop's own calls =====================================================================

  /** Return the keywords that are not the defaults, in the order of the signature. */
  function keywords(options) {
    const {
      seed, stream = null, step = 0n, exact = null, balance = null, block = {}, region = "valid",
      scale = "expected", sizes = {},
    } = options;
    return [
      ...(seed === undefined ? [] : [`seed=${repr(seed)}`]),
      ...(stream === null ? [] : [`stream=${repr(stream)}`]),
      ...(BigInt(step) === 0n ? [] : [`step=${repr(step)}`]),
      ...lawKeywords({ exact, balance, block, region, scale, sizes }),
    ];
  }

  function lawKeywords({ exact, balance, block, region, scale, sizes }) {
    const blocks = Object.entries(block).map(([name, size]) => `${repr(name)}: ${size}`);
    return [
      ...(exact === null ? [] : [`exact=${repr(exact)}`]),
      ...(balance === null ? [] : [`balance=${repr(balance)}`]),
      ...(blocks.length ? [`block={${blocks.join(", ")}}`] : []),
      ...(region === "valid" ? [] : [`region=${repr(region)}`]),
      ...(scale === "expected" ? [] : [`scale=${repr(scale)}`]),
      ...Object.entries(sizes).map(([name, size]) => `${name}=${size}`),
    ];
  }

  /** Return the functions' calls of these arguments of `mapdrop.mask`. */
  function functions(options) {
    const start = [repr(options.pattern), floatRepr(Number(options.p))];
    const rest = keywords(options);
    const shape = tuple(Array.from(options.shape, String));
    return [
      `mapdrop.drop(${["x", ...start, ...rest].join(", ")})`,
      `mapdrop.mask(${[start[0], shape, start[1], ...rest].join(", ")})`,
    ];
  }

  const SPATIAL = { 3: "t", 4: "h w", 5: "d h w" };
  const FORMATS = ["channels_first", "channels_last"];
  // How each library writes them: Keras takes its own setting where no format is given.
  const LAYERS = {
    "mapdrop.torch": { rate: "p", dims: "d", usual: "channels_first", shares: true, last: [] },
    "mapdrop.keras": { rate: "rate", dims: "D", usual: "", shares: false, last: [] },
    "mapdrop.flax": {
      rate: "rate", dims: "d", usual: "channels_last", shares: true, last: ["rngs=rngs"] },
  };

  /**
   * Return {library, call} of each layer that draws this very mask for a seed and a step.
   *
   * What a layer draws is a pattern with options, as in mapdrop's own code: it is the same if they
   * bind to the shape as the request does. `Drop` takes every pattern, and is always there.
   */
  function layers(options) {
    const wanted = drawn(options);
    return Object.entries(LAYERS).flatMap(([library, style]) =>
      candidates(options, style)
        .filter(({ means }) => drawn(means) === wanted)
        .map(({ name, words }) => ({
          library, call: `${name}(${[...words, ...style.last].join(", ")})` })));
  }

  /** Return all that decides a mask but the seed and the step, as text; "" where nothing fits. */
  function drawn(options) {
    try {
      const { binding, law, scale } = mapdrop.plan(options);
      const axes = binding.axes.map((factors) =>
        factors.map(({ size, coin }) => [String(size), coin]));
      const block = law.block.map(([axis, size]) => [axis, String(size)]);
      return JSON.stringify([axes, binding.sizes.map(String), { ...law, block }, scale]);
    } catch (error) {
      if (error instanceof mapdrop.PatternError) return ""; // The layer is for another shape.
      throw error;
    }
  }

  function candidates(options, style) {
    const { pattern, shape, region = "valid", scale = "expected" } = options;
    const p = floatRepr(Number(options.p));
    const made = [];
    const add = (name, words, means) =>
      made.push({
        name, words: [p, ...words], means: { shape, p: options.p, seed: 0n, ...means } });
    const scaled = scale === "expected" ? [] : [`scale=${repr(scale)}`];
    add("Dropout", [], { pattern: "... -> ..." });
    add("DropPath", scaled, { pattern: "b ... -> b", scale });
    add("DropPath", [...scaled, "balance=True"], { pattern: "b ... -> b", scale, balance: "b" });
    const space = SPATIAL[shape.length];
    for (const format of space ? FORMATS : []) {
      const left = format === "channels_first" ? `c ${space}` : `${space} c`;
      const dims = `${shape.length - 2}${style.dims}`;
      const said = format === style.usual ? [] : [`data_format="${format}"`];
      for (const { batch, first, words } of batches(options, style)) {
        const even = [...said, ...words, "balance=True"];
        const maps = `${batch} ${left} -> ${first} c`;
        add(`SpatialDropout${dims}`, [...said, ...words], { pattern: maps });
        if (style.shares) add(`SpatialDropout${dims}`, even, { pattern: maps, balance: first });
      }
      for (const { block, side } of blocks(options, space.split(" "))) {
        const words = [side, ...said, ...(region === "valid" ? [] : [`region=${repr(region)}`])];
        const means = { pattern: `b ${left} -> b ${space} c`, block, region, scale };
        add(`DropBlock${dims}`, [...words, ...scaled], means);
      }
    }
    const rest = keywords({ ...options, seed: undefined, step: 0n, stream: null });
    const words = [repr(pattern), `${style.rate}=${p}`, ...rest];
    return [...made, { name: "Drop", words, means: options }];
  }

  /** Return the batch's axis on both sides of a layer's pattern: alone, or shared by some. */
  function batches({ pattern, shape, sizes }, { shares }) {
    const alone = { batch: "b", first: "b", words: [] };
    const [factors] = mapdrop.bind(pattern, shape.map(BigInt), sizes).axes;
    const [group, members, ...others] = factors;
    const shared = members && !others.length && group.coin !== null && members.coin === null;
    if (!shares || !shared) return [alone];
    const share = `share=${members.size}`;
    return [alone, { batch: `(m ${members.size})`, first: "m", words: [share] }];
  }

  /** Return `block=` as layers have it, if there is one: a side, or one for each axis of space. */
  function blocks({ block = {} }, names) {
    const given = Object.entries(block);
    const sides = names.map((name, i) => block[name] ?? given[i]?.[1]);
    if (given.length !== names.length) return [];
    const side = new Set(sides.map(String)).size === 1 ? String(sides[0]) : tuple(sides);
    return [{ block: Object.fromEntries(names.map((name, i) => [name, sides[i]])), side }];
  }

  return { sentences, elsewhere, functions, layers, structure };
})(typeof module === "undefined" ? mapdrop : require("./mask-v1.js"));

if (typeof module !== "undefined") module.exports = calls;
