// "Find targets", "Find exports", "Find Ceph pools": a host of the new pool looks, and what it finds fills the form.
import { Button } from "@patternfly/react-core";
import { useState } from "react";
import { useFormContext } from "react-hook-form";
import { useClient } from "../../api/context";
import { faultOf } from "../../api/fault";
import { PoolService } from "../../api/gen/quantix/pool/v1/pool_pb";
import { FaultPanel, type FaultView } from "../../ui/fault";
import { formatBytes } from "../../ui/quantity";
import type { PoolInput } from "./pool-form";

interface Choice {
  key: string;
  label: string;
  fill: Partial<PoolInput>;
}
interface Found {
  choices: Choice[];
  note: string;
  host: string;
}

/** A button that has a host look, and what it found as buttons that fill the form. */
function Find({ label, missing, none, look }: { label: string; missing: string; none: string; look: (hostId: string) => Promise<Found> }) {
  const form = useFormContext<PoolInput>();
  const hostId = form.watch("hostIds")[0] ?? "";
  const [busy, setBusy] = useState(false);
  const [found, setFound] = useState<Found>();
  const [fault, setFault] = useState<FaultView>();
  const reason = hostId === "" ? "Choose a host first: it looks." : missing;
  const start = async () => {
    setBusy(true);
    setFault(undefined);
    setFound(undefined);
    try {
      setFound(await look(hostId));
    } catch (error) {
      setFault(faultOf(error));
    }
    setBusy(false);
  };
  const take = (choice: Choice) => {
    for (const [name, value] of Object.entries(choice.fill)) {
      form.setValue(name as keyof PoolInput, value, { shouldDirty: true, shouldValidate: form.formState.isSubmitted });
    }
    setFound(undefined);
  };
  return (
    <div className="q-field">
      <div>
        <Button variant="secondary" size="sm" type="button" onClick={() => void start()} isLoading={busy} isDisabled={busy || reason !== ""}>
          {label}
        </Button>
        {reason && <span className="q-muted"> {reason}</span>}
      </div>
      {fault && <FaultPanel fault={fault} />}
      {found && (
        <div className="q-part-box" role="group" aria-label={`Found by ${found.host}`}>
          <div className="q-muted">{found.choices.length === 0 ? none : `Found by ${found.host}; choose one:`}</div>
          {found.choices.map((choice) => (
            <div key={choice.key}>
              <Button variant="link" isInline type="button" onClick={() => take(choice)}>
                {choice.label}
              </Button>
            </div>
          ))}
          {found.note && <div className="q-muted">{found.note}</div>}
        </div>
      )}
    </div>
  );
}

/** Exports of the server on the form. */
export function FindExports() {
  const client = useClient(PoolService);
  const { watch, getValues } = useFormContext<PoolInput>();
  const look = async (hostId: string) => {
    const { exports, note, host } = await client.listExports({ hostId, server: getValues("server").trim() });
    return { note, host, choices: exports.map((e) => ({ key: e.path, label: e.clients ? `${e.path} (for ${e.clients})` : e.path, fill: { exportPath: e.path } })) };
  };
  return <Find label="Find exports" missing={watch("server").trim() === "" ? "Enter the server first." : ""} none="The server offers nothing." look={look} />;
}

/** Pools of the cluster on the form. */
export function FindCephPools() {
  const client = useClient(PoolService);
  const { watch, getValues } = useFormContext<PoolInput>();
  const [monitors, user, key] = watch(["monitors", "cephUser", "cephKey"]);
  const missing = [monitors, user, key].some((text) => text.trim() === "") ? "Enter monitors, user and key first." : "";
  const look = async (hostId: string) => {
    const v = getValues();
    const asked = { hostId, monitors: v.monitors.split(/[\s,]+/).filter(Boolean), user: v.cephUser.trim().replace(/^client\./, ""), key: v.cephKey.trim() };
    const { pools, host } = await client.listCephPools(asked);
    return { note: "", host, choices: pools.map((p) => ({ key: p.name, label: `${p.name} (${formatBytes(p.availableBytes)} free)`, fill: { cephPool: p.name } })) };
  };
  return <Find label="Find Ceph pools" missing={missing} none="The cluster has no pool." look={look} />;
}

function chapOf(v: PoolInput) {
  return {
    chap: v.chap ? { user: v.chapUser.trim(), password: v.chapPassword } : undefined,
    mutualChap: v.chap && v.mutual ? { user: v.mutualUser.trim(), password: v.mutualPassword } : undefined,
  };
}

/** Targets at the portal on the form. */
export function FindTargets() {
  const client = useClient(PoolService);
  const { watch, getValues } = useFormContext<PoolInput>();
  const look = async (hostId: string) => {
    const { targets, host } = await client.discoverTargets({ hostId, portal: getValues("portal").trim(), ...chapOf(getValues()) });
    return { note: "", host, choices: targets.map((t) => ({ key: t.name, label: `${t.name} (at ${t.portals.join(", ")})`, fill: { target: t.name } })) };
  };
  return <Find label="Find targets" missing={watch("portal").trim() === "" ? "Enter the portal first." : ""} none="The portal offers this host no target." look={look} />;
}

/** LUNs of the target on the form: the host signs in for a moment. */
export function FindLuns() {
  const client = useClient(PoolService);
  const { watch, getValues } = useFormContext<PoolInput>();
  const look = async (hostId: string) => {
    const v = getValues();
    const { targets, host } = await client.discoverTargets({ hostId, portal: v.portal.trim(), target: v.target.trim(), ...chapOf(v) });
    const choices = targets.flatMap((t) => t.luns).map((lun) => {
      const group = /^LVM volume group (\S+)$/.exec(lun.content)?.[1];
      const words = [formatBytes(lun.sizeBytes), lun.product, lun.content || "nothing found on it"].filter(Boolean);
      return { key: String(lun.number), label: `LUN ${lun.number}: ${words.join(", ")}`, fill: { lun: String(lun.number), ...(group ? { volumeGroup: group } : {}) } };
    });
    return { note: "", host, choices };
  };
  const [portal, target] = watch(["portal", "target"]);
  return <Find label="Find LUNs" missing={portal.trim() === "" || target.trim() === "" ? "Enter portal and target first." : ""} none="The target shows this host no LUN." look={look} />;
}
