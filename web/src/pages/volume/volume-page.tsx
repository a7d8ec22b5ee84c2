// One volume: what it is, who has it, its snapshots.
import { useQuery } from "@connectrpc/connect-query";
import { Link, useParams } from "@tanstack/react-router";
import { useState } from "react";
import { viewOf } from "../../api/fault";
import { VolumeService, type Volume } from "../../api/gen/quantix/volume/v1/volume_pb";
import { useTasks } from "../../api/lists";
import { Crumbs } from "../../shell/crumbs";
import { usePageState } from "../../shell/page-state";
import { FaultPanel } from "../../ui/fault";
import { ActionButton, allowedOf, Card, Copyable, Facts, PageTitle } from "../../ui/parts";
import { formatBytes } from "../../ui/quantity";
import { Tabs } from "../../ui/tabs";
import { Age } from "../../ui/time";
import { ms } from "../host/words";
import { Absent, present } from "../task/gone";
import { TaskTable } from "../task/task-table";
import { VolumeDialog, type VolumeVerb } from "./volume-dialogs";
import { VolumeSnapshots } from "./volume-snapshots";
import { allocationName, formatName, volumeStatus } from "./words";

const TABS = [
  { id: "overview", label: "Overview" },
  { id: "snapshots", label: "Snapshots" },
  { id: "tasks", label: "Tasks" },
];

export function VolumePage() {
  const { id } = useParams({ strict: false }) as { id: string };
  const page = usePageState();
  const query = useQuery(VolumeService.method.getVolume, { id });
  const [open, setOpen] = useState<VolumeVerb>();
  const volume = present(query);
  if (!volume) return <Absent noun="volume" id={id} query={query} to="/volumes" />;
  const tab = page.tab ?? "overview";
  const button = (verb: VolumeVerb, label: string) => (
    <ActionButton action={allowedOf(volume.allowedActions, verb)} onClick={() => setOpen(verb)} variant={verb === "delete" ? "danger" : "secondary"}>
      {label}
    </ActionButton>
  );
  return (
    <>
      <Crumbs parent="Volumes" to="/volumes" here={volume.name} />
      <PageTitle
        title={volume.name}
        status={volumeStatus(volume)}
        note={`${formatBytes(volume.sizeBytes)} in ${volume.pool}`}
        actions={
          <>
            {button("grow", "Grow")}
            {button("clone", "Clone")}
            {(volume.parentVolumeId || volume.linkedImage) && button("flatten", "Make independent")}
            {volume.vmId ? button("detach", "Detach") : button("attach", "Attach to a VM")}
            {button("delete", "Delete")}
          </>
        }
      />
      {volume.fault && (
        <div style={{ marginBottom: 16 }}>
          <FaultPanel fault={viewOf(volume.fault)} />
        </div>
      )}
      <Tabs label="Volume" tabs={TABS} active={tab} onSelect={(t) => page.setTab(t === "overview" ? undefined : t)} />
      {tab === "overview" && <Overview volume={volume} />}
      {tab === "snapshots" && <VolumeSnapshots volume={volume} />}
      {tab === "tasks" && <VolumeTasks id={volume.id} />}
      {open && <VolumeDialog verb={open} volume={volume} onClose={() => setOpen(undefined)} />}
    </>
  );
}

function Overview({ volume }: { volume: Volume }) {
  return (
    <div className="q-cards">
      <Card title="What it is">
        <Facts
          rows={[
            ["Size", formatBytes(volume.sizeBytes)],
            ["Format", formatName(volume.format)],
            ["Space is taken", allocationName(volume.allocation)],
            [
              "Linked to",
              volume.parentVolumeId ? (
                <Link key="p" to="/volumes/$id" params={{ id: volume.parentVolumeId }}>
                  {volume.parentVolume || volume.parentVolumeId}
                </Link>
              ) : volume.linkedImage ? (
                `the image ${volume.linkedImage}`
              ) : (
                "nothing: it stands alone"
              ),
            ],
            ["Created", <Age key="c" at={ms(volume.createdAt)} />],
            ["Id", <Copyable key="i" text={volume.id} label="id" />],
          ]}
        />
      </Card>
      <Card title="Where it is">
        <Facts
          rows={[
            [
              "Pool",
              <Link key="p" to="/pools/$id" params={{ id: volume.poolId }}>
                {volume.pool}
              </Link>,
            ],
            [
              "VM",
              volume.vmId ? (
                <Link key="v" to="/vms/$id" params={{ id: volume.vmId }}>
                  {volume.vm}
                </Link>
              ) : (
                "none: it is free"
              ),
            ],
          ]}
        />
      </Card>
    </div>
  );
}

function VolumeTasks({ id }: { id: string }) {
  return <TaskTable label="Tasks of this volume" list={useTasks({ objectId: id })} narrow />;
}
