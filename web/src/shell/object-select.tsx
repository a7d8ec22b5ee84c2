// Fields that search hosts, pools, images, volumes and VMs by part of their name, as the vDC finds them.
import { useState } from "react";
import { faultOf } from "../api/fault";
import type { Host } from "../api/gen/quantix/host/v1/host_pb";
import type { Image } from "../api/gen/quantix/image/v1/image_pb";
import type { Pool } from "../api/gen/quantix/pool/v1/pool_pb";
import type { Vm } from "../api/gen/quantix/vm/v1/vm_pb";
import type { Volume } from "../api/gen/quantix/volume/v1/volume_pb";
import { useHosts, useImages, usePools, useVms, useVolumes, type List } from "../api/lists";
import { SearchSelect, SHUT, type Choice, type Found, type Search, type SelectProps } from "../ui/search-select";

interface Named {
  id: string;
  name: string;
}

export interface ObjectSelectProps<Row> extends Omit<SelectProps, "onChange"> {
  /** With all that is known of the object, once one is chosen. */
  onChange: (value: Choice | undefined, row: Row | undefined) => void;
  /** What tells it from others, beside its name. */
  note?: (row: Row) => string;
  /** Why it cannot be had here; undefined where it can. */
  unless?: (row: Row) => string | undefined;
}

/** The field around what a list found. */
function select<Row extends Named>(props: ObjectSelectProps<Row>, list: List<Row, unknown>, asked: { search: Search; onSearch: (search: Search) => void; none: string }) {
  const { note, unless, onChange, ...field } = props;
  const rows = list.rows?.map((row): Choice => {
    const refused = unless?.(row);
    return { id: row.id, name: row.name, note: refused ?? note?.(row), disabled: refused !== undefined };
  });
  const found: Found = { rows, isOld: list.isOld, total: list.total, fault: list.error ? faultOf(list.error) : undefined, again: list.again };
  const choose = (choice: Choice | undefined) => onChange(choice, list.rows?.find((row) => row.id === choice?.id));
  return <SearchSelect {...field} {...asked} onChange={choose} found={found} />;
}

const wishOf = (search: Search) => ({ filter: search.text, enabled: search.isOpen, keep: true });

export function HostSelect(props: ObjectSelectProps<Host>) {
  const [search, onSearch] = useState(SHUT);
  return select(props, useHosts(wishOf(search)), { search, onSearch, none: "There is no host yet." });
}

export function PoolSelect(props: ObjectSelectProps<Pool>) {
  const [search, onSearch] = useState(SHUT);
  return select(props, usePools(wishOf(search)), { search, onSearch, none: "There is no pool yet." });
}

export function ImageSelect(props: ObjectSelectProps<Image>) {
  const [search, onSearch] = useState(SHUT);
  return select(props, useImages(wishOf(search)), { search, onSearch, none: "There is no image yet." });
}

/** For a volume that a VM is to have. */
export function VolumeSelect(props: ObjectSelectProps<Volume>) {
  const [search, onSearch] = useState(SHUT);
  // Those of VMs only once somebody looks for one by its name: it then says who has it.
  return select(props, useVolumes({ ...wishOf(search), free: search.text === "" }), { search, onSearch, none: "There is no free volume." });
}

const whereVm = (vm: Vm) => (vm.host ? `on ${vm.host}` : "");

export function VmSelect(props: ObjectSelectProps<Vm>) {
  const [search, onSearch] = useState(SHUT);
  return select({ note: whereVm, ...props }, useVms(wishOf(search)), { search, onSearch, none: "There is no VM yet." });
}
