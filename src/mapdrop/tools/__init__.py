"""Commands that show, compare and time masks, and what commands share."""
