// The places of the app, in the order of the navigation, and which permission opens each.
import CertificateIcon from "@patternfly/react-icons/dist/esm/icons/certificate-icon";
import CubeIcon from "@patternfly/react-icons/dist/esm/icons/cube-icon";
import DatabaseIcon from "@patternfly/react-icons/dist/esm/icons/database-icon";
import DesktopIcon from "@patternfly/react-icons/dist/esm/icons/desktop-icon";
import HddIcon from "@patternfly/react-icons/dist/esm/icons/hdd-icon";
import HomeIcon from "@patternfly/react-icons/dist/esm/icons/home-icon";
import ServerIcon from "@patternfly/react-icons/dist/esm/icons/server-icon";
import BellIcon from "@patternfly/react-icons/dist/esm/icons/bell-icon";
import ListIcon from "@patternfly/react-icons/dist/esm/icons/list-icon";
import TasksIcon from "@patternfly/react-icons/dist/esm/icons/tasks-icon";
import KeyIcon from "@patternfly/react-icons/dist/esm/icons/key-icon";
import HistoryIcon from "@patternfly/react-icons/dist/esm/icons/history-icon";
import SignInIcon from "@patternfly/react-icons/dist/esm/icons/sign-in-alt-icon";
import UsersIcon from "@patternfly/react-icons/dist/esm/icons/users-icon";
import type { ReactNode } from "react";
import type { May } from "../api/session";

export interface Place {
  to: string;
  label: string;
  icon: ReactNode;
  /** Held on anything at all. Without it: open to everybody. */
  needs?: string;
  /** Stands under a heading of its own. */
  group?: "administration";
}

export const PLACES: readonly Place[] = [
  { to: "/", label: "Dashboard", icon: <HomeIcon />, needs: "system.view" },
  { to: "/hosts", label: "Hosts", icon: <ServerIcon />, needs: "host.view" },
  { to: "/vms", label: "VMs", icon: <DesktopIcon />, needs: "vm.view" },
  { to: "/pools", label: "Pools", icon: <DatabaseIcon />, needs: "pool.view" },
  { to: "/volumes", label: "Volumes", icon: <HddIcon />, needs: "volume.view" },
  { to: "/images", label: "Images", icon: <CubeIcon />, needs: "image.view" },
  { to: "/tasks", label: "Tasks", icon: <TasksIcon /> },
  { to: "/alerts", label: "Alerts", icon: <BellIcon />, needs: "system.view" },
  { to: "/events", label: "Events", icon: <ListIcon />, needs: "system.view" },
  { to: "/certificates", label: "Certificates", icon: <CertificateIcon />, needs: "certificate.view", group: "administration" },
  { to: "/users", label: "Users", icon: <UsersIcon />, needs: "people.view", group: "administration" },
  { to: "/sign-in", label: "Sign-in", icon: <SignInIcon />, needs: "people.view", group: "administration" },
  { to: "/roles", label: "Roles", icon: <KeyIcon />, needs: "people.view", group: "administration" },
  { to: "/audit", label: "Audit log", icon: <HistoryIcon />, needs: "audit.view", group: "administration" },
];

/** Where a person is sent who may not see the dashboard: the first place that needs a permission they have. */
export function firstPlace(may: May): string | undefined {
  return PLACES.find((p) => p.needs && may(p.needs))?.to;
}
