// What a page keeps in the URL: filter, sort, tab, folder, and whether its create dialog is open.
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback } from "react";
import type { PageSearch } from "../router";
import { parseSort, printSort, type Sort } from "../ui/table";

export function usePageState() {
  const search = useSearch({ strict: false }) as PageSearch;
  const navigate = useNavigate();
  const set = useCallback(
    (part: Partial<PageSearch>, replace = true) =>
      void navigate({ to: ".", search: (old: PageSearch) => ({ ...old, ...part }), replace } as never),
    [navigate],
  );
  return {
    search,
    filter: search.q ?? "",
    sort: parseSort(search.sort),
    severity: search.severity ?? "",
    tab: search.tab,
    path: search.path ?? "",
    isCreating: search.new === true,
    setSearch: set,
    setFilter: useCallback((q: string) => set({ q: q || undefined }), [set]),
    setSort: useCallback((sort: Sort) => set({ sort: printSort(sort) }), [set]),
    setTab: useCallback((tab: string | undefined) => set({ tab, q: undefined, sort: undefined, path: undefined, free: undefined }, false), [set]),
    setPath: useCallback((path: string) => set({ path: path || undefined, q: undefined }, false), [set]),
    openCreate: useCallback(() => set({ new: true }, false), [set]),
    closeCreate: useCallback(() => set({ new: undefined }), [set]),
  };
}
