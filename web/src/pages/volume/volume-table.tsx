// Volumes as rows: all of them, or those of one pool.
import { Button, Checkbox } from "@patternfly/react-core";
import { Link } from "@tanstack/react-router";
import { useEffect, useState, type ReactNode } from "react";
import { faultOf } from "../../api/fault";
import type { Volume } from "../../api/gen/quantix/volume/v1/volume_pb";
import { ORDERS, useVolumes } from "../../api/lists";
import type { usePageState } from "../../shell/page-state";
import { Filter } from "../../ui/filter";
import { ActionButton, allowedOf, Empty } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { Status } from "../../ui/status";
import { DataTable, type Column } from "../../ui/table";
import { Age } from "../../ui/time";
import { ms } from "../host/words";
import { VolumeDialog } from "./volume-dialogs";
import { formatName, volumeStatus } from "./words";

export function VolumeTable({ poolId = "", page, create }: { poolId?: string; page: ReturnType<typeof usePageState>; create?: ReactNode }) {
  const free = page.search.free === true;
  const volumes = useVolumes({ filter: page.filter, sort: page.sort, poolId, free });
  const isNarrowed = page.filter !== "" || free;
  // The watch changes rows where they stand: one that a VM has got meanwhile does not belong here any more.
  const { again } = volumes;
  const taken = free && volumes.rows?.some((v) => v.vmId !== "") === true;
  useEffect(() => {
    if (taken) again();
  }, [taken, again]);
  const [deleting, setDeleting] = useState<Volume>();
  const columns: Column<Volume>[] = [
    {
      id: "name",
      header: "Name",
      sort: (v) => v.name,
      cell: (v) => (
        <Link to="/volumes/$id" params={{ id: v.id }}>
          {v.name}
        </Link>
      ),
    },
    {
      id: "state",
      header: "State",
      sort: (v) => volumeStatus(v).label,
      cell: (v) => (
        <>
          <Status {...volumeStatus(v)} />
          {v.fault && <div className="q-table__sub">{v.fault.message}</div>}
        </>
      ),
    },
    {
      id: "vm",
      header: "VM",
      sort: (v) => v.vm,
      cell: (v) =>
        v.vmId ? (
          <Link to="/vms/$id" params={{ id: v.vmId }}>
            {v.vm}
          </Link>
        ) : (
          <span className="q-muted">none</span>
        ),
    },
    {
      id: "pool",
      header: "Pool",
      sort: (v) => v.pool,
      cell: (v) => (
        <Link to="/pools/$id" params={{ id: v.poolId }}>
          {v.pool}
        </Link>
      ),
    },
    { id: "format", header: "Format", sort: (v) => v.format, cell: (v) => formatName(v.format) },
    { id: "size", header: "Size", numeric: true, sort: (v) => v.sizeBytes, cell: (v) => formatBytes(v.sizeBytes) },
    { id: "created", header: "Created", sort: (v) => ms(v.createdAt) ?? 0, cell: (v) => <Age at={ms(v.createdAt)} /> },
    {
      id: "action",
      header: "Actions", isHeaderHidden: true,
      cell: (v) => (
        <ActionButton variant="link" action={allowedOf(v.allowedActions, "delete")} onClick={() => setDeleting(v)}>
          Delete
        </ActionButton>
      ),
    },
  ];
  return (
    <>
      {(isNarrowed || (volumes.rows?.length ?? 0) > 0) && (
        <div className="q-toolbar">
          <Filter label="Filter volumes by name" value={page.filter} onChange={page.setFilter} />
          <Checkbox id="volumes-free" label="Free only" isChecked={free} onChange={(_, on) => page.setSearch({ free: on || undefined })} />
        </div>
      )}
      <DataTable
        label="Volumes"
        rows={free ? volumes.rows?.filter((v) => v.vmId === "") : volumes.rows}
        columns={poolId ? columns.filter((c) => c.id !== "pool") : columns}
        rowId={(v) => v.id}
        rowName={(v) => v.name}
        sort={page.sort}
        onSort={page.setSort}
        orders={ORDERS.volumes}
        total={volumes.total}
        hasMore={volumes.hasMore}
        onMore={volumes.more}
        fault={volumes.error ? faultOf(volumes.error) : undefined}
        onRetry={volumes.again}
        empty={
          isNarrowed ? (
            <Empty title={nothing(page.filter, free)} action={<Button variant="link" onClick={() => page.setSearch({ q: undefined, free: undefined })}>Show all</Button>}>
              {free && "A volume is free when no VM has it."}
            </Empty>
          ) : (
            <Empty title="No volume yet" action={create}>
              A volume is a virtual disk. Creating a VM makes those it needs; here you make one by itself.
            </Empty>
          )
        }
      />
      {deleting && <VolumeDialog verb="delete" volume={deleting} onClose={() => setDeleting(undefined)} />}
    </>
  );
}

function nothing(filter: string, free: boolean): string {
  if (filter === "") return "Every volume is in use";
  return `No ${free ? "free volume" : "volume"} has "${filter}" in its name`;
}
