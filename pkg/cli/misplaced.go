// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/halfclose/halfclose/internal/cmdline"
)

// refuseCall answers a container runtime that has executed the command as a CNI plugin, because it is installed in the
// plugin's place. The answer is an error (CNI spec, "Error"). DEL succeeds, so that pods can be deleted: the reaper removes
// the records of namespaces that are gone.
func refuseCall(verb string, stdout, stderr io.Writer) int {
	e := types.NewError(types.ErrInternal, "this is the halfclose command, not the CNI plugin",
		"move it to another directory, such as /usr/local/bin, and run halfclose install")
	if verb == "DEL" {
		fmt.Fprintln(stderr, "halfclose:", e)
		return cmdline.Success
	}
	data, err := json.Marshal(e)
	if err == nil {
		_, _ = fmt.Fprintf(stdout, "%s\n", data)
	}
	return cmdline.Failure
}
