// The usual patterns, in both orders of the axes, with an array in which one sees what they do.

"use strict";

const presets = (() => {
  const both = (last, first, shapeLast, shapeFirst) => ({
    channels_last: { pattern: last, shape: shapeLast ?? "2, 8, 8, 12" },
    channels_first: { pattern: first, shape: shapeFirst ?? "2, 12, 8, 8" },
  });

  // Ids of the first five are those of mapdrop's own list, src/mapdrop/tools/drop_kinds.py.
  return [
    { id: "spatial", title: "Whole maps: spatial dropout", p: "0.5",
      ...both("b h w c -> b c", "b c h w -> b c") },
    { id: "element", title: "Single values: ordinary dropout", p: "0.5",
      ...both("b h w c -> b h w c", "b c h w -> b c h w") },
    { id: "place", title: "Pixels, through all maps", p: "0.5",
      ...both("b h w c -> b h w", "b c h w -> b h w") },
    { id: "path", title: "Whole samples: drop path", p: "0.2",
      ...both("b ... -> b", "b ... -> b", "8, 6, 6, 8", "8, 8, 6, 6") },
    { id: "block", title: "Blocks: DropBlock", p: "0.1", law: "block", block: "h=7, w=7",
      ...both("b h w c -> b h w c", "b c h w -> b h w c", "2, 24, 24, 6", "2, 6, 24, 24") },
    { id: "groups", title: "Groups of 4 maps", p: "0.5", sizes: "k=4",
      ...both("b h w (g k) -> b g", "b (g k) h w -> b g") },
    { id: "batch", title: "The same maps in all samples", p: "0.5",
      ...both("b h w c -> c", "b c h w -> c") },
    { id: "exact", title: "Exactly half of each sample's maps", p: "0.5", law: "exact", axis: "c",
      ...both("b h w c -> b c", "b c h w -> b c") },
    { id: "balance", title: "Each map in half of the samples", p: "0.5", law: "balance", axis: "b",
      ...both("b h w c -> b c", "b c h w -> b c", "4, 8, 8, 12", "4, 12, 8, 8") },
    { id: "channels", title: "Channels of a sequence", p: "0.3",
      ...both("b t c -> b c", "b c t -> b c", "4, 24, 16", "4, 16, 24") },
    { id: "tokens", title: "Places of a sequence", p: "0.1",
      ...both("b t c -> b t", "b c t -> b t", "4, 24, 16", "4, 16, 24") },
    { id: "volumes", title: "Whole volumes: spatial dropout in 3D", p: "0.5",
      ...both("b d h w c -> b c", "b c d h w -> b c", "2, 4, 8, 8, 8", "2, 8, 4, 8, 8") },
  ];
})();

if (typeof module !== "undefined") module.exports = presets;
