// Permissions in words: grouped by the noun they are for.
import { useQuery } from "@connectrpc/connect-query";
import { useMemo } from "react";
import { RoleService, type Permission } from "../../api/gen/quantix/role/v1/role_pb";

/** Roles and permissions: never many, and open to everybody. */
export const useRoles = () => useQuery(RoleService.method.listRoles, {});
export const useGrants = () => useQuery(RoleService.method.listGrants, {});

/** What a permission allows; the word itself where the vDC has no text for it. */
export type TextOf = (word: string) => string;

export function useTexts(): TextOf {
  const permissions = useRoles().data?.permissions;
  return useMemo(() => {
    const texts = new Map(permissions?.map((p) => [p.word, p.text]));
    return (word) => texts.get(word) ?? word;
  }, [permissions]);
}

const NOUNS: Record<string, string> = {
  system: "System",
  alert: "Alerts",
  task: "Tasks",
  host: "Hosts",
  pool: "Pools",
  file: "Files",
  image: "Images",
  volume: "Volumes",
  vm: "VMs",
  people: "People",
  audit: "Audit log",
  certificate: "Certificates",
  setting: "Settings",
};

export interface Group {
  noun: string;
  title: string;
  permissions: Permission[];
}

/** In the vDC's order; a noun this page does not know keeps its own word. */
export function groupsOf(permissions: readonly Permission[]): Group[] {
  const groups = new Map<string, Group>();
  for (const permission of permissions) {
    const noun = permission.word.split(".")[0] ?? "";
    const title = NOUNS[noun] ?? noun.charAt(0).toUpperCase() + noun.slice(1);
    const group = groups.get(noun) ?? { noun, title, permissions: [] };
    group.permissions.push(permission);
    groups.set(noun, group);
  }
  return [...groups.values()];
}
