/** Distinguishes the address of a bundle from a path. */
export const IS_ADDRESS = /^(?:https?|data|blob):/;
