// The picture of a mask: which axes are rows, columns and maps, where a value lies, and its look.

"use strict";

const picture = (() => {
  const MOST_ROWS = 96, MOST_CELLS = 2 ** 14;
  const ROLES = ["rows", "columns", "maps"];

  // === Which axis is what ======================================================================

  // The names by which `mapdrop explain` knows axes (src/mapdrop/tools/explain/layout.py).
  const KNOWN = {
    b: ["b", "batch", "n", "sample", "samples"],
    rows: ["h", "height", "y", "row", "rows"],
    columns: ["w", "width", "x", "col", "cols"],
    time: ["t", "time", "l", "length", "s", "seq", "step", "steps"],
    maps: ["c", "ch", "chan", "chans", "channel", "channels"],
  };

  /** Return an axis as the pattern has it: "b", "(g k)". */
  function labelOf(factors) {
    const names = factors.map(({ name }) => name).join(" ");
    return factors.length > 1 ? `(${names})` : names;
  }

  /**
   * Return the axes of the array that are rows, columns and maps, by their names, then by their
   * order; null for none. One steps through the others.
   */
  function usualRoles(binding) {
    const found = {};
    binding.axes.forEach((factors, axis) => {
      for (const [role, names] of Object.entries(KNOWN)) {
        if (!(role in found) && factors.some(({ name }) => names.includes(name))) {
          found[role] = axis;
          return;
        }
      }
    });
    const rank = binding.axes.length;
    if (rank <= 2) {
      return { rows: rank === 2 ? 0 : null, columns: rank ? rank - 1 : null, maps: null };
    }
    const roles = {
      rows: found.rows ?? null, columns: found.columns ?? found.time ?? null,
      maps: found.maps ?? null,
    };
    const taken = [...Object.values(roles), found.b];
    const left = binding.axes.map((_, axis) => axis).filter((axis) => !taken.includes(axis));
    for (const role of ["columns", "rows", "maps"]) {
      if (roles[role] === null && left.length) roles[role] = left.pop();
    }
    if (roles.rows === null) { // A sequence: channels by time, a panel for each sample.
      return { rows: roles.maps, columns: roles.columns, maps: found.b ?? null };
    }
    return roles;
  }

  /** Return a view: what of the mask is drawn, around the value at `position`. */
  function viewOf(mask, roles, position) {
    const shape = mask.binding.shape.map(Number);
    const size = (axis) => (axis === null ? 1 : shape[axis]);
    const rows = Math.min(size(roles.rows), MOST_ROWS);
    const columns = Math.min(size(roles.columns), MOST_ROWS);
    const room = Math.max(1, Math.floor(MOST_CELLS / Math.max(1, rows * columns)));
    const maps = Math.min(size(roles.maps), room);
    const whole = { rows: size(roles.rows), columns: size(roles.columns), maps: size(roles.maps) };
    return { mask, roles, position, rows, columns, maps, whole, coin: coinNumbers(mask) };
  }

  /** Return a function of an index of the array: the number of its coin. */
  function coinNumbers(mask) {
    const strides = mask.sizes.map((_, axis) =>
      mask.sizes.slice(axis + 1).reduce((a, b) => a * b, 1));
    // Each axis adds its part to the coin's number, whatever the others are.
    const part = mask.binding.axes.map((factors) => {
      const counted = [];
      let inner = 1;
      for (const { size, coin } of [...factors].reverse()) {
        const n = Number(size);
        if (coin !== null) counted.push([inner, n, strides[coin]]);
        inner *= n;
      }
      return (place) => counted.reduce(
        (sum, [below, n, stride]) => sum + (Math.floor(place / below) % n) * stride, 0);
    });
    return (index) => part.reduce((sum, of, axis) => sum + of(index[axis]), 0);
  }

  /** Return the index of the array's value in a row and a column of a map of the view. */
  function indexAt({ roles, position }, map, row, column) {
    const index = [...position];
    if (roles.maps !== null) index[roles.maps] = map;
    if (roles.rows !== null) index[roles.rows] = row;
    if (roles.columns !== null) index[roles.columns] = column;
    return index;
  }

  // === Where it lies ===========================================================================

  const LARGEST = 24, SMALLEST = 4, TALLEST = 520;

  /** Return where the panels lie: the largest cells with which the picture is not too tall. */
  function layoutOf(view, width) {
    let layout = null;
    for (let cell = LARGEST; cell >= SMALLEST; cell--) {
      layout = layoutWith(view, width, cell);
      if (layout.width <= width && layout.height <= TALLEST) return layout;
    }
    return layout;
  }

  function layoutWith(view, width, cell) {
    const gap = Math.max(8, Math.round(cell * 0.75));
    const head = view.roles.maps === null ? 0 : 16;
    const panelWidth = view.columns * cell, panelHeight = view.rows * cell + head;
    const fitting = Math.max(1, Math.floor((width - 4 + gap) / (panelWidth + gap)));
    const across = Math.min(fitting, view.maps);
    const down = Math.ceil(view.maps / across);
    const spot = (map) => ({
      x: 2 + (map % across) * (panelWidth + gap),
      y: 2 + head + Math.floor(map / across) * (panelHeight + gap),
    });
    return {
      cell, head, spot, across,
      width: across * (panelWidth + gap) - gap + 4, height: down * (panelHeight + gap) - gap + 4,
    };
  }

  /** Return the square of a value: its left, top and side. */
  function squareOf(layout, map, row, column) {
    const { x, y } = layout.spot(map);
    return { x: x + column * layout.cell, y: y + row * layout.cell, side: layout.cell };
  }

  /** Return the map, row and column at a place of the picture, or null. */
  function cellAt(view, layout, x, y) {
    for (let map = 0; map < view.maps; map++) {
      const spot = layout.spot(map);
      const column = Math.floor((x - spot.x) / layout.cell);
      const row = Math.floor((y - spot.y) / layout.cell);
      if (column >= 0 && column < view.columns && row >= 0 && row < view.rows) {
        return { map, row, column };
      }
    }
    return null;
  }

  // === How it looks ============================================================================

  /** Draw the view. `colours` has kept, dropped, cross, mate, ring and text. */
  function draw(context, view, layout, colours) {
    context.clearRect(0, 0, layout.width, layout.height);
    const chosen = view.coin(view.position);
    const squares = { kept: [], dropped: [], keptMate: [], droppedMate: [] };
    for (let map = 0; map < view.maps; map++) {
      for (let row = 0; row < view.rows; row++) {
        for (let column = 0; column < view.columns; column++) {
          const coin = view.coin(indexAt(view, map, row, column));
          const mate = coin === chosen ? "Mate" : "";
          const kind = (view.mask.coins[coin] ? "kept" : "dropped") + mate;
          squares[kind].push(squareOf(layout, map, row, column));
        }
      }
    }
    const rim = layout.cell >= 6 ? 1 : 0.5;
    fill(context, squares.kept, rim, colours.kept);
    fill(context, squares.dropped, rim, colours.dropped);
    fill(context, squares.keptMate, rim, colours.mate);
    fill(context, squares.droppedMate, rim, colours.dropped);
    crosses(context, squares.dropped, layout.cell, colours.cross);
    crosses(context, squares.droppedMate, layout.cell, colours.mate);
    points(context, squares.keptMate, colours.page);
    outline(context, [...squares.keptMate, ...squares.droppedMate], rim, colours.mate);
    labels(context, view, layout, colours.text);
    ring(context, view, layout, colours);
  }

  function fill(context, squares, rim, colour) {
    context.fillStyle = colour;
    for (const { x, y, side } of squares) {
      context.fillRect(x + rim / 2, y + rim / 2, side - rim, side - rim);
    }
  }

  // A dropped value is crossed out, so that nobody has to tell two colours apart.
  function crosses(context, squares, cell, colour) {
    if (cell < 6) { // Too small to cross out.
      context.fillStyle = colour;
      const inset = cell / 2 - 0.75;
      for (const { x, y } of squares) context.fillRect(x + inset, y + inset, 1.5, 1.5);
      return;
    }
    const inset = cell * 0.3;
    context.strokeStyle = colour;
    context.lineWidth = Math.max(1, cell / 14);
    context.beginPath();
    for (const { x, y, side } of squares) {
      context.moveTo(x + inset, y + inset);
      context.lineTo(x + side - inset, y + side - inset);
      context.moveTo(x + side - inset, y + inset);
      context.lineTo(x + inset, y + side - inset);
    }
    context.stroke();
  }

  // Kept values that share the coin have a point, for those who do not see their colour.
  function points(context, squares, colour) {
    context.fillStyle = colour;
    for (const { x, y, side } of squares) {
      if (side >= 8) context.fillRect(x + side * 0.38, y + side * 0.38, side * 0.24, side * 0.24);
    }
  }

  function outline(context, squares, rim, colour) {
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    for (const { x, y, side } of squares) {
      context.strokeRect(x + rim, y + rim, side - 2 * rim, side - 2 * rim);
    }
  }

  function labels(context, view, layout, colour) {
    if (!layout.head) return;
    const name = labelOf(view.mask.binding.axes[view.roles.maps]);
    context.fillStyle = colour;
    context.font = "11px system-ui, sans-serif";
    for (let map = 0; map < view.maps; map++) {
      const { x, y } = layout.spot(map);
      const fits = view.columns * layout.cell > 8 * (name.length + String(map).length + 1);
      context.fillText(fits ? `${name} ${map}` : String(map), x, y - 5);
    }
  }

  function ring(context, view, layout, colours) {
    const place = cellOf(view);
    if (place === null) return;
    const { x, y, side } = squareOf(layout, place.map, place.row, place.column);
    // Around the square, which stays as it is, and thin where its neighbours are small.
    const width = Math.min(2.5, side / 4), halo = Math.min(1.5, side / 8);
    for (const [around, colour] of [[width + halo, colours.page], [width, colours.ring]]) {
      context.lineWidth = around;
      context.strokeStyle = colour;
      context.strokeRect(x - around / 2, y - around / 2, side + around, side + around);
    }
  }

  /** Return the map, row and column of the value at `position`, or null where it is not drawn. */
  function cellOf({ roles, position, rows, columns, maps }) {
    const place = (axis) => (axis === null ? 0 : position[axis]);
    const cell = { map: place(roles.maps), row: place(roles.rows), column: place(roles.columns) };
    return cell.map < maps && cell.row < rows && cell.column < columns ? cell : null;
  }

  return {
    ROLES, MOST_ROWS, MOST_CELLS, labelOf, usualRoles, viewOf, indexAt, layoutOf, squareOf, cellAt,
    cellOf, draw,
  };
})();

if (typeof module !== "undefined") module.exports = picture;
