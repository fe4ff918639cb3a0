// Shorthand for the page's elements.

"use strict";

const $ = (id) => document.getElementById(id);

/** Return a new element with a text and properties. */
function element(tag, text = "", properties = {}) {
  const made = Object.assign(document.createElement(tag), properties);
  if (text) made.textContent = text;
  return made;
}

/** Make these the children of an element. */
function list(parent, children) {
  parent.replaceChildren(...children);
}
