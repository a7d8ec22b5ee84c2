// Fields that search hosts, pools and VMs by part of their name, as the vDC finds them.
import { useState } from "react";
import { faultOf } from "../api/fault";
import { useHosts, usePools, useVms, type List } from "../api/lists";
import { SearchSelect, SHUT, type Choice, type Found, type SelectProps } from "../ui/search-select";

interface Named {
  id: string;
  name: string;
}

/** `note` says beside a name what tells it from others. */
function foundIn<Row extends Named>(list: List<Row, unknown>, note?: (row: Row) => string): Found {
  const rows = list.rows?.map((row): Choice => ({ id: row.id, name: row.name, note: note?.(row) }));
  return { rows, total: list.total, fault: list.error ? faultOf(list.error) : undefined, again: list.again };
}

export function HostSelect(props: SelectProps) {
  const [search, setSearch] = useState(SHUT);
  const found = foundIn(useHosts({ filter: search.text, enabled: search.isOpen }));
  return <SearchSelect {...props} search={search} onSearch={setSearch} found={found} none="There is no host yet." />;
}

export function PoolSelect(props: SelectProps) {
  const [search, setSearch] = useState(SHUT);
  const found = foundIn(usePools({ filter: search.text, enabled: search.isOpen }));
  return <SearchSelect {...props} search={search} onSearch={setSearch} found={found} none="There is no pool yet." />;
}

export function VmSelect(props: SelectProps) {
  const [search, setSearch] = useState(SHUT);
  const found = foundIn(useVms({ filter: search.text, enabled: search.isOpen }), (vm) => (vm.host ? `on ${vm.host}` : ""));
  return <SearchSelect {...props} search={search} onSearch={setSearch} found={found} none="There is no VM yet." />;
}
