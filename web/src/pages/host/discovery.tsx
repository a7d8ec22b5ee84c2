// What a machine is made of, as it said itself.
import { viewOf } from "../../api/fault";
import type { Discovery } from "../../api/gen/quantix/host/v1/host_pb";
import { FaultPanel } from "../../ui/fault";
import { Facts } from "../../ui/parts";
import { formatBytes, formatCount } from "../../ui/quantity";
import { acceleratorName } from "./words";

export function cpuText(discovery: Discovery): string {
  const cpu = discovery.cpu;
  if (!cpu) return "";
  return `${cpu.model} · ${formatCount(cpu.sockets, "socket")}, ${formatCount(cpu.cores, "core")}, ${formatCount(cpu.threads, "thread")}`;
}

export function DiscoveryFacts(props: { discovery: Discovery; version: string; clockSkewMs: number; url: string }) {
  const { discovery: d, version, clockSkewMs, url } = props;
  const engine = d.engine;
  const running = d.existingVms.filter((v) => v.running).length;
  return (
    <>
      <Facts
        label="Found on the host"
        rows={[
          ["Host name", d.hostname],
          ["Address", url],
          ["System", `${d.os}, kernel ${d.kernel}`],
          ["CPU", cpuText(d)],
          ["Memory", formatBytes(d.memoryTotalBytes)],
          ["Disks", d.disks.map((k) => `${k.name} ${formatBytes(k.sizeBytes)}`).join(", ")],
          ["Network", d.nics.map((n) => `${n.name}${n.up ? "" : " (down)"} ${n.addresses.join(" ")}`.trim()).join(", ")],
          ["Engine", engine ? `libvirt ${engine.libvirtVersion}, QEMU ${engine.qemuVersion}` : ""],
          ["Accelerator", engine ? `${acceleratorName(engine.accelerator)}. ${engine.acceleratorReason}` : ""],
          ["VMs already there", d.existingVms.length === 0 ? "none" : `${d.existingVms.length}, ${running} running; they stay as they are`],
          ["Quantix version", version],
          ["Clock", clockText(clockSkewMs)],
        ]}
      />
      {engine?.weakness && <FaultPanel fault={viewOf(engine.weakness)} />}
      {engine?.fault && <FaultPanel fault={viewOf(engine.fault)} />}
    </>
  );
}

export function clockText(skewMs: number): string {
  const off = Math.abs(skewMs);
  if (off < 1000) return "agrees with the vDC";
  return `${(off / 1000).toFixed(1)} s ${skewMs > 0 ? "ahead of" : "behind"} the vDC`;
}
