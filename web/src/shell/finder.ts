// What can be found and done from the keyboard: places, creating, and objects by part of their name.
import { useNavigate } from "@tanstack/react-router";
import { useMemo } from "react";
import { useHosts, useImages, usePools, useVms } from "../api/lists";

export interface Find {
  id: string;
  group: "Go to" | "Create" | "Hosts" | "VMs" | "Pools" | "Images";
  label: string;
  run: () => void;
}

const OBJECTS_MAX = 6;

export function useCommands(): Find[] {
  const navigate = useNavigate();
  return useMemo(() => {
    const go = (to: string, label: string): Find => ({
      id: `go:${to}`,
      group: "Go to",
      label,
      run: () => void navigate({ to } as never),
    });
    const create = (to: string, label: string): Find => ({
      id: `new:${to}`,
      group: "Create",
      label,
      run: () => void navigate({ to, search: { new: true } } as never),
    });
    return [
      create("/vms", "Create VM"),
      create("/images", "Upload image"),
      create("/pools", "Create pool"),
      create("/volumes", "Create volume"),
      create("/hosts", "Add host"),
      go("/", "Dashboard"),
      go("/hosts", "Hosts"),
      go("/vms", "VMs"),
      go("/pools", "Pools"),
      go("/volumes", "Volumes"),
      go("/images", "Images"),
      go("/tasks", "Tasks"),
      go("/change-password", "Change password"),
    ];
  }, [navigate]);
}

/** Objects whose name holds `text`, as the vDC finds them. */
export function useObjects(text: string): Find[] {
  const navigate = useNavigate();
  const hosts = useHosts({ filter: text }).rows;
  const vms = useVms({ filter: text }).rows;
  const pools = usePools({ filter: text }).rows;
  const images = useImages({ filter: text }).rows;
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
