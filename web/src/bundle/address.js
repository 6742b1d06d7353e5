/** What tells the address of a bundle from its path. */
export const IS_ADDRESS = /^(?:https?|data|blob):/;
