// Words beside what they explain. A dialog covers the page with all its tips: one that was open when the dialog came
// would lie above it, since both hang at the end of the document.
import { Tooltip } from "@patternfly/react-core";
import { createContext, useContext, type ReactElement } from "react";

/** Whether one is inside a dialog, whose own tips do show. */
export const InDialog = createContext(false);

export function Tip({ text, children }: { text: string; children: ReactElement }) {
  const inside = useContext(InDialog);
  return (
    <Tooltip content={text} className={inside ? "q-tip q-tip--inside" : "q-tip"}>
      {children}
    </Tooltip>
  );
}
