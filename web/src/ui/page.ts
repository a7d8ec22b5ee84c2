// Lists come in pages.

/** Rows a list asks for at a time. */
export const PAGE_ROWS = 100;
