// One pool: how it is, its files, who has it, its volumes.
import { useQuery } from "@connectrpc/connect-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { useClient } from "../../api/context";
import { faultOf, viewOf } from "../../api/fault";
import { PoolService, type Pool } from "../../api/gen/quantix/pool/v1/pool_pb";
import { useTasks } from "../../api/lists";
import { Crumbs } from "../../shell/crumbs";
import { useRight } from "../../api/session";
import { usePageState } from "../../shell/page-state";
import { Confirm } from "../../ui/dialog";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { ActionButton, allowedOf, Card, Copyable, Facts, PageTitle } from "../../ui/parts";
import { formatBytes, formatCount } from "../../ui/quantity";
import { Tabs } from "../../ui/tabs";
import { Age } from "../../ui/time";
import { ms } from "../host/words";
import { ObjectEvents } from "../event/event-table";
import { Absent, present } from "../task/gone";
import { TaskTable } from "../task/task-table";
import { VolumeTable } from "../volume/volume-table";
import { PoolFiles } from "./pool-files";
import { PoolHosts } from "./pool-hosts";
import { PoolOrphans } from "./pool-orphans";
import { PoolCapacity } from "./pools-page";
import { abilities, backendFacts, backendName, backendPlace, poolStatus } from "./words";

const TABS = [
  { id: "overview", label: "Overview" },
  { id: "files", label: "Files" },
  { id: "hosts", label: "Hosts" },
  { id: "volumes", label: "Volumes" },
  { id: "orphans", label: "Orphans" },
  { id: "events", label: "Events" },
];

const EditPoolDialog = lazy(() => import("./edit-pool").then((m) => ({ default: m.EditPoolDialog })));

export function PoolPage() {
  const { id } = useParams({ strict: false }) as { id: string };
  const page = usePageState();
  const query = useQuery(PoolService.method.getPool, { id });
  const [deleting, setDeleting] = useState(false);
  // Also where the vDC would refuse it: the dialog says what is in the way, and offers to go on.
  const remove = useRight()("pool.manage");
  const [editing, setEditing] = useState(false);
  const pool = present(query);
  if (!pool) return <Absent noun="pool" id={id} query={query} to="/pools" />;
  const tab = page.tab ?? "overview";
  return (
    <>
      <Crumbs parent="Pools" to="/pools" here={pool.name} />
      <PageTitle
        title={pool.name}
        status={poolStatus(pool)}
        note={backendName(pool)}
        actions={
          <>
            <ActionButton action={allowedOf(pool.allowedActions, "update")} onClick={() => setEditing(true)}>
              Edit
            </ActionButton>
            <ActionButton variant="danger" action={remove} onClick={() => setDeleting(true)}>
              Delete pool
            </ActionButton>
          </>
        }
      />
      {pool.fault && (
        <div style={{ marginBottom: 16 }}>
          <FaultPanel fault={viewOf(pool.fault)} />
        </div>
      )}
      <Tabs label="Pool" tabs={pool.capabilities && !pool.capabilities.files ? TABS.filter((t) => t.id !== "files") : TABS} active={tab} onSelect={(t) => page.setTab(t === "overview" ? undefined : t)} />
      {tab === "overview" && <Overview pool={pool} />}
      {tab === "files" && <PoolFiles pool={pool} />}
      {tab === "hosts" && <PoolHosts pool={pool} />}
      {tab === "volumes" && <VolumeTable poolId={pool.id} page={page} />}
      {tab === "orphans" && <PoolOrphans pool={pool} />}
      {tab === "events" && <ObjectEvents objectId={pool.id} />}
      {editing && (
        <Suspense fallback={null}>
          <EditPoolDialog pool={pool} onClose={() => setEditing(false)} />
        </Suspense>
      )}
      {deleting && <DeletePool pool={pool} onClose={() => setDeleting(false)} />}
    </>
  );
}

/** When a host last said anything of it. */
function lastReport(pool: Pool): number | undefined {
  const times = pool.hostStatuses.map((s) => ms(s.observedAt)).filter((at) => at !== undefined);
  return times.length > 0 ? Math.max(...times) : undefined;
}

function Overview({ pool }: { pool: Pool }) {
  const tasks = useTasks({ objectId: pool.id });
  const c = pool.capacity;
  const can = pool.capabilities;
  return (
    <div className="q-stack">
      <div className="q-cards">
        <Card title="Space">
          <Facts
            rows={[
              ["Used", <PoolCapacity key="c" pool={pool} />],
              ["Free", c ? formatBytes(c.availableBytes) : ""],
              ["Reported", <Age key="a" at={ms(c?.observedAt) ?? lastReport(pool)} />],
              ["Volumes", pool.volumeCount],
              ["Images", pool.imageCount],
            ]}
          />
        </Card>
        <Card title="What it is">
          <Facts
            rows={[
              ["Kind", backendName(pool)],
              ["Place", <Copyable key="p" text={backendPlace(pool)} label="place" />],
              ...backendFacts(pool),
              ["File system", can?.fileSystem],
              ["Can do", can ? abilities(can) : "not reported yet"],
              ["Created", <Age key="c" at={ms(pool.createdAt)} />],
              ["Id", <Copyable key="i" text={pool.id} label="id" />],
            ]}
          />
        </Card>
      </div>
      <section aria-label="Tasks of this pool">
        <h2 className="q-part">Tasks</h2>
        <TaskTable label="Tasks of this pool" list={tasks} narrow />
      </section>
    </div>
  );
}

function DeletePool({ pool, onClose }: { pool: Pool; onClose: () => void }) {
  const client = useClient(PoolService);
  const navigate = useNavigate();
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<FaultView>();
  const run = async (force: boolean) => {
    setBusy(true);
    setFault(undefined);
    try {
      await client.deletePool({ id: pool.id, force });
      await navigate({ to: "/pools" });
    } catch (error) {
      setFault(faultOf(error));
      setBusy(false);
    }
  };
  const inside = pool.volumeCount + pool.imageCount;
  return (
    <Confirm
      title={`Delete pool "${pool.name}"?`}
      verb="Delete pool"
      typedName={pool.name}
      busy={busy}
      fault={fault}
      option={
        inside > 0
          ? { label: "Delete it although volumes or images are on it", note: "The vDC forgets them; their files stay." }
          : { label: "Do not wait for hosts that cannot be reached", note: "They let go of the pool when they report again." }
      }
      onConfirm={(force) => void run(force)}
      onClose={onClose}
    >
      <p>
        {formatCount(pool.volumeCount, "volume")} and {formatCount(pool.imageCount, "image")} are on it. What Quantix did not make in {backendPlace(pool)} stays.
      </p>
    </Confirm>
  );
}
