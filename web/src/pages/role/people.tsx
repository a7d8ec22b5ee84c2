// People to choose from, by name, as the vDC finds them.
import { useMemo, useState } from "react";
import { faultOf } from "../../api/fault";
import { useUsers } from "../user/lists";
import { SearchSelect, SHUT, type Found, type SelectProps } from "../../ui/search-select";

/** People whose name holds `filter`. */
export function usePeople(filter: string): Found {
  const list = useUsers({ filter, keep: true });
  const rows = useMemo(() => list.rows?.map((u) => ({ id: u.id, name: u.name })), [list.rows]);
  return { rows, isOld: list.isOld, total: list.total, fault: list.error ? faultOf(list.error) : undefined, again: list.again };
}

export function PersonSelect(props: SelectProps) {
  const [search, setSearch] = useState(SHUT);
  const found = usePeople(search.text);
  return <SearchSelect {...props} search={search} onSearch={setSearch} found={found} none="There is nobody to choose from yet." />;
}
