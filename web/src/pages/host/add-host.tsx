// Add host: address and token → three phases live → what was found → confirm.
import { Button, TextInput } from "@patternfly/react-core";
import { useQuery } from "@connectrpc/connect-query";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { useApi, useClient } from "../../api/context";
import { faultOf, viewOf } from "../../api/fault";
import { HostService, Phase, PhaseState, type ProbeHostResponse } from "../../api/gen/quantix/host/v1/host_pb";
import { useHosts } from "../../api/lists";
import { HostSelect } from "../../shell/object-select";
import { Dialog } from "../../ui/dialog";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { Field } from "../../ui/field";
import type { Choice } from "../../ui/search-select";
import { Status, type StatusView } from "../../ui/status";
import { DiscoveryFacts } from "./discovery";
import { isSilent } from "./words";

const PHASES = [
  { phase: Phase.PING, label: "Reach the host", note: "Is a Quantix host there, and does its clock agree?" },
  { phase: Phase.TOKEN, label: "Check the token", note: "Does the host know it, and is its certificate the one in the token?" },
  { phase: Phase.DISCOVERY, label: "Look at the machine", note: "What is it made of, and does its engine answer?" },
] as const;

interface PhaseView {
  state: PhaseState;
  elapsedMs: number;
  fault?: FaultView;
}

export function AddHostDialog({ onClose }: { onClose: () => void }) {
  const { queries } = useApi();
  const client = useClient(HostService);
  const navigate = useNavigate();
  const offers = useQuery(HostService.method.listHostOffers, {}).data?.offers ?? [];
  const [url, setUrl] = useState("");
  const [token, setToken] = useState("");
  const [name, setName] = useState("");
  const [replaced, setReplaced] = useState<Choice>();
  const hosts = useHosts();
  const [phases, setPhases] = useState<ReadonlyMap<Phase, PhaseView>>(new Map());
  const [found, setFound] = useState<ProbeHostResponse>();
  const [fault, setFault] = useState<FaultView>();
  const [busy, setBusy] = useState(false);
  const probe = useRef<AbortController>(null);
  useEffect(() => () => probe.current?.abort(), []);
  const offered = offers[0]?.url;
  const address = url || offered || "";

  const check = async () => {
    probe.current?.abort();
    const line = new AbortController();
    probe.current = line;
    setBusy(true);
    setFault(undefined);
    setFound(undefined);
    setPhases(new Map());
    try {
      for await (const r of client.probeHost({ url: address, token: token.trim() }, { signal: line.signal })) {
        setPhases((old) =>
          new Map(old).set(r.phase, { state: r.state, elapsedMs: Number(r.elapsedMs), fault: r.fault && viewOf(r.fault) }),
        );
        if (r.probeId !== "") {
          setFound(r);
          // A machine that is known keeps its name: it is enrolled again, not added.
          setName((old) => r.knownHostName || old || hostLabel(r.discovery?.hostname ?? ""));
        }
      }
    } catch (error) {
      if (!line.signal.aborted) setFault(faultOf(error));
    } finally {
      if (probe.current === line) setBusy(false);
    }
  };
  const confirm = async () => {
    if (!found) return;
    setBusy(true);
    setFault(undefined);
    try {
      const host = await client.addHost({ probeId: found.probeId, name: replaced?.name ?? name, replacesHostId: replaced?.id ?? "" });
      await queries.invalidateQueries();
      await navigate({ to: "/hosts/$id", params: { id: host.id } });
    } catch (error) {
      setFault(faultOf(error));
      setBusy(false);
    }
  };
  const isKnown = (found?.knownHostId ?? "") !== "";
  // Of more hosts than a page some may be silent that are not read.
  const mayReplace = !isKnown && (hosts.hasMore || (hosts.rows ?? []).some(isSilent));
  const failed = [...phases.values()].find((p) => p.fault);
  return (
    <Dialog
      title="Add host"
      note={found ? "This is what the host says of itself. Nothing was changed yet." : "The host shows its token on its screen, or with: quantix-node token"}
      size="medium"
      submit={found ? (isKnown ? "Enrol again" : replaced ? `Replace ${replaced.name}` : "Add host") : failed ? "Check again" : "Check host"}
      busy={busy}
      disabled={found ? name === "" && !replaced : address === "" || token.trim() === ""}
      fault={fault}
      onSubmit={() => void (found ? confirm() : check())}
      onClose={onClose}
    >
      {!found && (
        <>
          <Field
            label="Host address"
            help={
              offered && url === "" ? (
                `The host on this machine, version ${offers[0]?.version ?? ""}, is filled in.`
              ) : offered && url !== offered ? (
                <Button variant="link" isInline size="sm" onClick={() => setUrl(offered)}>
                  Use the host on this machine ({offered})
                </Button>
              ) : (
                "For example https://host-1.example:9443"
              )
            }
          >
            {(ids) => <TextInput {...ids} value={address} onChange={(_, v) => setUrl(v)} autoComplete="off" spellCheck={false} autoFocus={!offered} />}
          </Field>
          <Field label="Registration token" help="Valid for one hour, for one use.">
            {(ids) => (
              <TextInput {...ids} className="q-mono" value={token} onChange={(_, v) => setToken(v)} placeholder="qxh1.…" autoComplete="off" spellCheck={false} autoFocus={Boolean(offered)} />
            )}
          </Field>
        </>
      )}
      {phases.size > 0 && <PhaseList phases={phases} />}
      {found && (
        <>
          {isKnown && (
            <p role="status">
              This machine is registered already, as <strong>{found.knownHostName}</strong>. It stays that host with its pools and VMs, and gets a new certificate.
            </p>
          )}
          {mayReplace && (
            <HostSelect
              label="Replaces"
              empty="Nothing: it is a new host"
              value={replaced}
              onChange={setReplaced}
              unless={(h) => (isSilent(h) ? undefined : "reports: it is not silent")}
              help={replaced ? `It becomes ${replaced.name}, with its pools and VMs on record. The machine that was ${replaced.name} is refused from then on.` : "A machine that was installed anew takes the place of the silent host it was."}
            />
          )}
          {!isKnown && !replaced && (
            <Field label="Name" help="1 to 63 of a-z, 0-9 and -">
              {(ids) => <TextInput {...ids} value={name} onChange={(_, v) => setName(v)} autoFocus autoComplete="off" />}
            </Field>
          )}
          {found.discovery && <DiscoveryFacts discovery={found.discovery} version={found.hostVersion} clockSkewMs={Number(found.clockSkewMs)} url={address} />}
        </>
      )}
    </Dialog>
  );
}

function PhaseList({ phases }: { phases: ReadonlyMap<Phase, PhaseView> }) {
  return (
    <ol className="q-phases" aria-label="Checks">
      {PHASES.map(({ phase, label, note }) => {
        const view = phases.get(phase);
        return (
          <li key={phase}>
            <div className="q-phases__line">
              <Status {...phaseStatus(view, label)} />
              <span className="q-muted">{view ? phaseNote(view) : note}</span>
            </div>
            {view?.fault && <FaultPanel fault={view.fault} />}
          </li>
        );
      })}
    </ol>
  );
}

function phaseStatus(view: PhaseView | undefined, label: string): StatusView {
  switch (view?.state) {
    case PhaseState.RUNNING:
      return { tone: "work", label };
    case PhaseState.DONE:
      return { tone: "ok", label };
    case PhaseState.FAILED:
      return { tone: "error", label };
    default:
      return { tone: "off", label };
  }
}

function phaseNote(view: PhaseView): string {
  const took = `${view.elapsedMs.toLocaleString("en")} ms`;
  switch (view.state) {
    case PhaseState.RUNNING:
      return "running…";
    case PhaseState.DONE:
      return `done in ${took}`;
    case PhaseState.FAILED:
      return `failed after ${took}`;
    default:
      return "";
  }
}

/** A host name made fit for a name here; the vDC has the last word. */
export function hostLabel(hostname: string): string {
  const first = hostname.split(".")[0] ?? "";
  return first
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 63);
}
