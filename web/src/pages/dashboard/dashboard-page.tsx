// First the way to the first VM, step by step; once that is done, how all is.
import { timestampMs } from "@bufbuild/protobuf/wkt";
import { useQuery } from "@connectrpc/connect-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { faultOf, viewOf } from "../../api/fault";
import { HostPhase, HostService } from "../../api/gen/quantix/host/v1/host_pb";
import { SystemService, type Summary } from "../../api/gen/quantix/system/v1/system_pb";
import { useHosts, usePools, useTasks } from "../../api/lists";
import { useRight } from "../../api/session";
import { FaultPanel } from "../../ui/fault";
import { Refused } from "../../ui/forbidden";
import { ActionButton, Card, Loading, Meter, PageTitle } from "../../ui/parts";
import { formatBytes, formatCount } from "../../ui/quantity";
import { Status, StatusIcon } from "../../ui/status";
import { Age } from "../../ui/time";
import { poolStatus } from "../pool/words";
import { Alerts, RecentEvents } from "./news";
import { Standing } from "./standing";
import { TaskProgress, taskStatus, isOpen } from "../task/task-view";

export function DashboardPage() {
  const query = useQuery(SystemService.method.getSummary, {}, { refetchInterval: 30_000 });
  const s = query.data;
  if (!s) {
    return query.error ? <Refused fault={faultOf(query.error)} onRetry={() => void query.refetch()} /> : <Loading label="dashboard" />;
  }
  const done = s.vmsTotal > 0;
  return (
    <>
      <PageTitle title="Dashboard" />
      {query.error && <FaultPanel fault={faultOf(query.error)} onRetry={() => void query.refetch()} />}
      {s.storeFault && <FaultPanel fault={viewOf(s.storeFault)} />}
      <div className="q-stack">
        {!done && <FirstSteps summary={s} />}
        {s.hostsTotal > 0 && <Overview summary={s} />}
      </div>
    </>
  );
}

function FirstSteps({ summary: s }: { summary: Summary }) {
  const right = useRight();
  const offers = useQuery(HostService.method.listHostOffers, {}, { enabled: s.hostsTotal === 0 && right("host.manage").allowed }).data?.offers ?? [];
  const navigate = useNavigate();
  const steps = [
    {
      to: "/hosts",
      title: "Add a host",
      verb: "Add host",
      right: right("host.manage"),
      done: s.hostsTotal > 0,
      missing: "",
      note:
        s.hostsTotal > 0
          ? `${formatCount(s.hostsTotal, "host")} added`
          : offers[0]
            ? `This machine runs a host at ${offers[0].url}. Its token is shown by: quantix-node token`
            : "A machine that runs VMs. It shows its token with: quantix-node token",
    },
    {
      to: "/pools",
      title: "Create a pool",
      verb: "Create pool",
      right: right("pool.manage"),
      done: s.poolsTotal > 0,
      missing: s.hostsTotal > 0 ? "" : "A pool lies on a host: add one first.",
      note: s.poolsTotal > 0 ? `${formatCount(s.poolsTotal, "pool")} created` : "A place on a host for disks and images.",
    },
    {
      to: "/images",
      title: "Upload an image",
      verb: "Upload image",
      right: right("image.manage", "a pool"),
      done: s.imagesTotal > 0,
      missing: s.poolsTotal > 0 ? "" : "An image lies in a pool: create one first.",
      note: s.imagesTotal > 0 ? `${formatCount(s.imagesTotal, "image")} in the library` : "An ISO or a disk image that VMs start from.",
    },
    {
      to: "/vms",
      title: "Create a VM",
      verb: "Create VM",
      right: right("vm.manage"),
      done: s.vmsTotal > 0,
      missing: s.poolsTotal > 0 ? "" : "A VM needs a host and a pool: make those first.",
      note: s.vmsTotal > 0 ? `${formatCount(s.vmsTotal, "VM")} created` : "It starts at once, and its screen opens in the page.",
    },
  ] as const;
  const current = steps.findIndex((step) => !step.done);
  return (
    <Card title="To your first VM">
      <ol className="q-steps" aria-label="First steps">
        {steps.map((step, i) => (
          <li key={step.to}>
            <StatusIcon tone={step.done ? "ok" : "off"} />
            <h3>
              {i + 1}. {step.title}
              {step.done && <span className="q-muted"> · done</span>}
            </h3>
            <span style={{ gridRow: "1 / span 2", gridColumn: 3 }}>
              {!step.done && (
                <ActionButton
                  variant={i === current ? "primary" : "secondary"}
                  action={step.right.allowed ? { verb: step.verb, allowed: step.missing === "", reasonIfNot: step.missing } : step.right}
                  onClick={() => void navigate({ to: step.to, search: { new: true } })}
                >
                  {step.verb}
                </ActionButton>
              )}
            </span>
            <p>{step.note}</p>
          </li>
        ))}
      </ol>
    </Card>
  );
}

function part(some: number, all: number): string {
  return `${some.toLocaleString("en")} of ${all.toLocaleString("en")}`;
}

function Overview({ summary: s }: { summary: Summary }) {
  return (
    <>
      <div className="q-counts" style={{ marginBottom: 0 }}>
        <Count to="/hosts" name="Hosts ready" figure={part(s.hostsReady, s.hostsTotal)} bad={s.hostsReady < s.hostsTotal} />
        <Count to="/vms" name="VMs running" figure={part(s.vmsRunning, s.vmsTotal)} />
        <Count to="/pools" name="Pools ready" figure={part(s.poolsReady, s.poolsTotal)} bad={s.poolsReady < s.poolsTotal} />
        <Count to="/images" name="Images ready" figure={part(s.imagesReady, s.imagesTotal)} />
        <Count to="/volumes" name="Volumes" figure={s.volumesTotal.toLocaleString("en")} />
      </div>
      <div className="q-cards">
        <div className="q-stack">
          <Card title="Capacity">
            <div className="q-stack">
              {s.hostsSilent > 0 && (
                <p className="q-muted">Without {formatCount(s.hostsSilent, "silent host")}: their figures are unknown.</p>
              )}
              <Amount name="Memory of hosts" used={s.memoryUsedBytes} total={s.memoryTotalBytes} />
              <Amount name="Space in pools" used={s.poolUsedBytes} total={s.poolTotalBytes} />
              <p className="q-muted">{formatCount(s.cpuThreads, "CPU thread")} in all</p>
            </div>
          </Card>
          <Trouble summary={s} />
        </div>
        <div className="q-stack">
          <Standing summary={s} />
          <Alerts />
        </div>
        <RecentEvents />
        <Recent />
      </div>
    </>
  );
}

function Count({ to, name, figure, bad }: { to: "/hosts" | "/vms" | "/pools" | "/images" | "/volumes"; name: string; figure: string; bad?: boolean }) {
  return (
    <Link to={to} className="q-count">
      <span className="q-count__name">
        {bad && <StatusIcon tone="warn" />} {name}
      </span>
      <span className="q-count__figure">{figure}</span>
    </Link>
  );
}

function Amount({ name, used, total }: { name: string; used: bigint; total: bigint }) {
  if (total === 0n) {
    return (
      <div>
        <div>{name}</div>
        <span className="q-muted">not reported yet</span>
      </div>
    );
  }
  return (
    <div>
      <div>{name}</div>
      <Meter label={name} used={Number(used)} total={Number(total)} text={`${formatBytes(used)} of ${formatBytes(total)} used`} />
    </div>
  );
}

/** Everything that is not well, by name. */
function Trouble({ summary: s }: { summary: Summary }) {
  const hosts = useHosts();
  const pools = usePools();
  const silent = hosts.rows?.filter((h) => h.phase === HostPhase.DISCONNECTED) ?? [];
  const degraded = hosts.rows?.filter((h) => h.phase === HostPhase.DEGRADED) ?? [];
  const bad = pools.rows?.filter((p) => p.fault) ?? [];
  // The lists hold their first pages only: that all is well is known from the counts.
  const calm = s.hostsReady === s.hostsTotal && s.poolsReady === s.poolsTotal && silent.length + degraded.length + bad.length === 0;
  const isPart = hosts.hasMore || pools.hasMore;
  return (
    <Card title="Needs attention">
      {calm && <Status tone="ok" label="All hosts report, all pools are well" />}
      {!calm && isPart && <p className="q-muted">Among the first of many hosts and pools; the alerts tell of all.</p>}
      <ul className="q-list">
        {silent.map((h) => (
          <li key={h.id}>
            <Status tone="unknown" label="Silent" />
            <Link to="/hosts/$id" params={{ id: h.id }}>
              {h.name}
            </Link>
            <span className="q-muted q-list__end">
              seen <Age at={h.observedAt ? timestampMs(h.observedAt) : undefined} />
            </span>
          </li>
        ))}
        {degraded.map((h) => (
          <li key={h.id}>
            <Status tone="warn" label="Degraded" />
            <Link to="/hosts/$id" params={{ id: h.id }}>
              {h.name}
            </Link>
            <span className="q-muted">{h.fault?.message}</span>
          </li>
        ))}
        {bad.map((p) => (
          <li key={p.id}>
            <Status {...poolStatus(p)} />
            <Link to="/pools/$id" params={{ id: p.id }}>
              {p.name}
            </Link>
            <span className="q-muted">{p.fault?.message}</span>
          </li>
        ))}
      </ul>
    </Card>
  );
}

function Recent() {
  const tasks = useTasks();
  return (
    <Card title="Recent tasks" aside={<Link to="/tasks">All tasks</Link>}>
      {tasks.rows?.length === 0 && <p className="q-muted">No task yet.</p>}
      <ul className="q-list">
        {tasks.rows?.slice(0, 6).map((t) => (
          <li key={t.id}>
            <Status {...taskStatus(t)} />
            <span>{t.title}</span>
            <span className="q-list__end">
              {isOpen(t) ? <TaskProgress task={t} /> : <span className="q-muted"><Age at={t.endedAt ? timestampMs(t.endedAt) : undefined} /></span>}
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
