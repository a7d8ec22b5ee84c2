// People to choose from: for now those who have a role already, since nobody else is listed yet.
import { useMemo, useState } from "react";
import { faultOf } from "../../api/fault";
import { SearchSelect, SHUT, type Choice, type Found, type SelectProps } from "../../ui/search-select";
import { useGrants } from "./words";

/** People whose name holds `filter`. */
export function usePeople(filter: string): Found {
  const { data, error, refetch } = useGrants();
  const rows = useMemo(() => {
    if (!data) return undefined;
    const people = new Map(data.grants.map((g): [string, Choice] => [g.userId, { id: g.userId, name: g.userName }]));
    const wanted = filter.toLowerCase();
    return [...people.values()].filter((p) => p.name.toLowerCase().includes(wanted)).toSorted((a, b) => a.name.localeCompare(b.name, "en"));
  }, [data, filter]);
  return { rows, total: rows?.length, fault: error ? faultOf(error) : undefined, again: () => void refetch() };
}

export function PersonSelect(props: SelectProps) {
  const [search, setSearch] = useState(SHUT);
  const found = usePeople(search.text);
  return <SearchSelect {...props} search={search} onSearch={setSearch} found={found} none="There is nobody to choose from yet." />;
}
