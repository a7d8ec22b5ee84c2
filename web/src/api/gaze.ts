// What is on this screen: the things in the answers that somebody shows now. The vDC tells of these, and of all else only
// that it changed.
import type { QueryClient } from "@tanstack/react-query";
import { methodKey, NOUNS, rowsOf, type Thing } from "./cache";

/** The vDC takes no more in one gaze; rows beyond are read again with their list. */
const THINGS_MAX = 2_000;

export interface Sight {
  kind: string;
  ids: string[];
}

export function gazeOf(queries: QueryClient): Sight[] {
  const sights: Sight[] = [];
  let room = THINGS_MAX;
  for (const [kind, noun] of Object.entries(NOUNS)) {
    const ids = new Set<string>();
    const shown = (queryKey: ReturnType<typeof methodKey>) => queries.getQueryCache().findAll({ queryKey, type: "active" });
    for (const query of shown(methodKey(noun.get))) {
      const id = (query.state.data as Thing | undefined)?.id;
      if (id) ids.add(id);
    }
    for (const query of shown(methodKey(noun.list))) for (const row of rowsOf(query.state.data, noun.field)) ids.add(row.id);
    if (ids.size === 0) continue;
    sights.push({ kind, ids: [...ids].slice(0, room).toSorted() });
    room = Math.max(0, room - ids.size);
  }
  return sights;
}
