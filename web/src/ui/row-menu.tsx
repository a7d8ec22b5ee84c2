// What may be done with one row, behind one button: for rows with more actions than a line has room for.
import { Divider, Dropdown, DropdownItem, DropdownList, MenuToggle } from "@patternfly/react-core";
import EllipsisIcon from "@patternfly/react-icons/dist/esm/icons/ellipsis-v-icon";
import { Fragment, useState } from "react";
import type { Allowed } from "./parts";

export interface RowAction {
  label: string;
  action: Allowed;
  onClick: () => void;
  /** It destroys: it stands apart. */
  danger?: boolean;
}

export function RowMenu({ of, actions }: { of: string; actions: readonly RowAction[] }) {
  const [open, setOpen] = useState(false);
  return (
    <Dropdown
      isOpen={open}
      onOpenChange={setOpen}
      onSelect={() => setOpen(false)}
      // A table scrolls by itself and would cut it off.
      popperProps={{ position: "right", appendTo: () => document.body }}
      toggle={(ref) => <MenuToggle ref={ref} variant="plain" size="sm" isExpanded={open} onClick={() => setOpen(!open)} icon={<EllipsisIcon />} aria-label={`Actions of ${of}`} />}
    >
      <DropdownList className="q-row-menu">
        {actions.map(({ label, action, onClick, danger }) => (
          <Fragment key={label}>
            {danger && <Divider />}
            <DropdownItem isDanger={danger && action.allowed} isAriaDisabled={!action.allowed} description={action.allowed ? undefined : action.reasonIfNot} onClick={action.allowed ? onClick : undefined}>
              {label}
            </DropdownItem>
          </Fragment>
        ))}
      </DropdownList>
    </Dropdown>
  );
}
