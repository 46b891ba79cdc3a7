// The enlarged part of a picture: its window is the position of its corner and its size, as shares of the
// picture's sides.

// At this size, single units fill the frame.
export const LEAST = 1 / 32;

export const WHOLE = { left: 0, top: 0, size: 1 };

const within = (start, size) => Math.min(1 - size, Math.max(0, start));

// Zooms with a fixed point, given as shares of the frame's sides.
export function zoomed({ left, top, size }, factor, [x, y]) {
  const next = Math.min(1, Math.max(LEAST, size / factor));
  const by = size - next;
  return { left: within(left + x * by, next), top: within(top + y * by, next), size: next };
}

export const moved = ({ left, top, size }, [x, y]) => ({
  left: within(left - x * size, size), top: within(top - y * size, size), size,
});

// Converts positions in the frame to positions in the picture, and back.
export const inPicture = ({ left, top, size }, [x, y]) => [left + x * size, top + y * size];
export const inFrame = ({ left, top, size }, [x, y]) => [(x - left) / size, (y - top) / size];

export const transformOf = ({ left, top, size }) =>
  `scale(${1 / size}) translate(${-100 * left}%, ${-100 * top}%)`;
