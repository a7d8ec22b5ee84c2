// What can be found and done from the keyboard: places, creating, and objects by part of their name.
import { useNavigate } from "@tanstack/react-router";
import { useMemo } from "react";
import { useHosts, useImages, usePools, useVms } from "../api/lists";
import { useMay } from "../api/session";
import { PLACES } from "./places";

export interface Find {
  id: string;
  group: "Go to" | "Create" | "Hosts" | "VMs" | "Pools" | "Images";
  label: string;
  run: () => void;
}

const OBJECTS_MAX = 6;

export function useCommands(): Find[] {
  const navigate = useNavigate();
  const may = useMay();
  return useMemo(() => {
    const go = (to: string, label: string): Find => ({
      id: `go:${to}`,
      group: "Go to",
      label,
      run: () => void navigate({ to } as never),
    });
    const create = (to: string, label: string, needs: string) =>
      may(needs) ? [{ id: `new:${to}`, group: "Create" as const, label, run: () => void navigate({ to, search: { new: true } } as never) }] : [];
    return [
      ...create("/vms", "Create VM", "vm.manage"),
      ...create("/images", "Upload image", "image.manage"),
      ...create("/pools", "Create pool", "pool.manage"),
      ...create("/volumes", "Create volume", "volume.manage"),
      ...create("/hosts", "Add host", "host.manage"),
      ...PLACES.filter((p) => !p.needs || may(p.needs)).map((p) => go(p.to, p.label)),
      go("/tokens", "API tokens"),
      go("/change-password", "Change password"),
    ];
  }, [navigate, may]);
}

/** Objects whose name holds `text`, as the vDC finds them. */
export function useObjects(text: string): Find[] {
  const navigate = useNavigate();
  const may = useMay();
  const hosts = useHosts({ filter: text, enabled: may("host.view") }).rows;
  const vms = useVms({ filter: text, enabled: may("vm.view") }).rows;
  const pools = usePools({ filter: text, enabled: may("pool.view") }).rows;
  const images = useImages({ filter: text, enabled: may("image.view") }).rows;
  return useMemo(() => {
    const open = (group: Find["group"], to: string) => (o: { id: string; name: string }) => ({
      id: `${group}:${o.id}`,
      group,
      label: o.name,
      run: () => void navigate({ to, params: { id: o.id } } as never),
    });
    return [
      ...(vms ?? []).slice(0, OBJECTS_MAX).map(open("VMs", "/vms/$id")),
      ...(hosts ?? []).slice(0, OBJECTS_MAX).map(open("Hosts", "/hosts/$id")),
      ...(pools ?? []).slice(0, OBJECTS_MAX).map(open("Pools", "/pools/$id")),
      ...(images ?? []).slice(0, OBJECTS_MAX).map((i) => ({
        id: `Images:${i.id}`,
        group: "Images" as const,
        label: i.name,
        run: () => void navigate({ to: "/images", search: { q: i.name } } as never),
      })),
    ];
  }, [hosts, vms, pools, images, navigate]);
}
