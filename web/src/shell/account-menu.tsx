// Who is signed in, the theme, their tokens, and the way out. It is there once it was asked for, and opens at once.
import { Divider, Dropdown, DropdownGroup, DropdownItem, DropdownList, MenuToggle } from "@patternfly/react-core";
import UserIcon from "@patternfly/react-icons/dist/esm/icons/user-icon";
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { useApi, useClient } from "../api/context";
import { SessionService } from "../api/gen/quantix/session/v1/session_pb";
import { useSession } from "../api/session";
import { setTheme, useTheme, type ThemeChoice } from "../theme/theme";

const THEMES: [ThemeChoice, string][] = [
  ["system", "As the system"],
  ["light", "Light"],
  ["dark", "Dark"],
];

export function AccountMenu() {
  const [open, setOpen] = useState(false);
  const toggle = useRef<HTMLButtonElement>(null);
  // It took the place of the button that was pressed, and opens beside it once that stands.
  useEffect(() => {
    toggle.current?.focus();
    setOpen(true);
  }, []);
  const { queries, watch } = useApi();
  const client = useClient(SessionService);
  const session = useSession();
  const theme = useTheme();
  const navigate = useNavigate();
  const signOut = async () => {
    // Whatever the answer, this browser stops showing what it knows.
    await client.logout({}).catch(() => undefined);
    watch.stop();
    queries.clear();
    await navigate({ to: "/login" });
  };
  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      popperProps={{ position: "right" }}
      toggle={{
        toggleRef: toggle,
        toggleNode: <MenuToggle ref={toggle} variant="plain" isExpanded={open} onClick={() => setOpen(!open)} icon={<UserIcon />} aria-label="Account" title={session.data?.userName} />,
      }}
    >
      {session.data && <div className="q-account__who">Signed in as {session.data.userName}</div>}
      <DropdownGroup label="Theme">
        <DropdownList>
          {THEMES.map(([value, label]) => (
            <DropdownItem key={value} isSelected={theme === value} onClick={() => setTheme(value)}>
              {label}
            </DropdownItem>
          ))}
        </DropdownList>
      </DropdownGroup>
      <Divider />
      <DropdownList>
        <DropdownItem onClick={() => void navigate({ to: "/account" })}>My account</DropdownItem>
        <DropdownItem onClick={() => void navigate({ to: "/tokens" })}>API tokens</DropdownItem>
        <DropdownItem onClick={() => void signOut()}>Sign out</DropdownItem>
      </DropdownList>
      {session.data?.vdcVersion && (
        <>
          <Divider />
          <div className="q-account__version">Quantix vDC {session.data.vdcVersion}</div>
        </>
      )}
    </Dropdown>
  );
}
