// Which hosts have a new pool: one, or some, or all. A few stand as a list to tick; of many each is searched by name.
import { Button, Checkbox } from "@patternfly/react-core";
import { useState } from "react";
import { useClient } from "../../api/context";
import { HostService, type Host } from "../../api/gen/quantix/host/v1/host_pb";
import type { List } from "../../api/lists";
import { HostSelect } from "../../shell/object-select";
import { FaultPanel } from "../../ui/fault";
import { Loading } from "../../ui/parts";
import { useRun } from "../../ui/run";
import type { Choice } from "../../ui/search-select";
import { hostStatus } from "../host/words";

/** More than these are no list to read. */
const TICKS_MAX = 20;
/** The vDC tells no more at once. */
const READ_ROWS = 500;

const note = (host: Host) => hostStatus(host).label.toLowerCase();

export function OneHost({ only, onChange, error }: { only: Host | undefined; onChange: (ids: string[]) => void; error?: string }) {
  /** Null: what was chosen is taken back. */
  const [chosen, setChosen] = useState<Choice | null>();
  return (
    <HostSelect
      label="Host"
      error={error}
      value={chosen === undefined ? only : (chosen ?? undefined)}
      note={note}
      onChange={(host) => {
        setChosen(host ?? null);
        onChange(host ? [host.id] : []);
      }}
    />
  );
}

interface ManyProps {
  list: List<Host, unknown>;
  value: string[];
  onChange: (ids: string[]) => void;
  error?: string;
}

export function ManyHosts({ list, ...props }: ManyProps) {
  if (!list.rows) return <Loading label="hosts" lines={2} />;
  return (
    <fieldset className="q-part-box">
      <legend>Hosts</legend>
      {list.total > TICKS_MAX ? <Searched total={list.total} {...props} /> : <Ticked hosts={list.rows} {...props} />}
      {props.error && <div className="q-field__error">{props.error}</div>}
    </fieldset>
  );
}

function Ticked({ hosts, value, onChange }: Omit<ManyProps, "list"> & { hosts: Host[] }) {
  const all = hosts.length > 0 && value.length === hosts.length;
  return (
    <>
      {hosts.length > 1 && <Checkbox id="pool-all-hosts" label="All hosts" isChecked={all} onChange={(_, on) => onChange(on ? hosts.map((h) => h.id) : [])} />}
      {hosts.map((h) => (
        <Checkbox
          key={h.id}
          id={`pool-host-${h.id}`}
          label={`${h.name} (${note(h)})`}
          isChecked={value.includes(h.id)}
          onChange={(_, on) => onChange(on ? [...value, h.id] : value.filter((id) => id !== h.id))}
        />
      ))}
    </>
  );
}

function Searched({ total, value, onChange }: Omit<ManyProps, "list"> & { total: number }) {
  const client = useClient(HostService);
  const { busy, fault, run } = useRun(() => {});
  const [picked, setPicked] = useState<Choice[]>([]);
  const [isAll, setAll] = useState(false);
  const set = (hosts: Choice[]) => {
    setPicked(hosts);
    onChange(hosts.map((h) => h.id));
  };
  const takeAll = () =>
    run(async () => {
      const ids: string[] = [];
      let pageToken = "";
      do {
        const page = await client.listHosts({ pageSize: READ_ROWS, pageToken });
        ids.push(...page.hosts.map((h) => h.id));
        pageToken = page.nextPageToken;
      } while (pageToken !== "");
      setAll(true);
      onChange(ids);
    });
  const tick = (on: boolean) => {
    if (on) {
      takeAll();
      return;
    }
    setAll(false);
    set(picked);
  };
  return (
    <>
      <Checkbox id="pool-all-hosts" label={`All ${total.toLocaleString("en")} hosts`} isChecked={isAll} isDisabled={busy} onChange={(_, on) => tick(on)} />
      {fault && <FaultPanel fault={fault} onRetry={takeAll} />}
      {!isAll && (
        <>
          <HostSelect
            label="Add a host"
            value={undefined}
            note={note}
            unless={(h) => (value.includes(h.id) ? "is chosen" : undefined)}
            onChange={(host) => host && set([...picked, host])}
          />
          <ul className="q-list" aria-label="Chosen hosts">
            {picked.map((h) => (
              <li key={h.id}>
                <span>{h.name}</span>
                <Button variant="link" isInline size="sm" className="q-list__end" aria-label={`Remove ${h.name}`} onClick={() => set(picked.filter((p) => p.id !== h.id))}>
                  Remove
                </Button>
              </li>
            ))}
          </ul>
        </>
      )}
    </>
  );
}
