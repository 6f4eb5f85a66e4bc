// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/containernetworking/cni/pkg/types"
)

// refuseCall answers a container runtime that has executed the command as a CNI plugin: the command is where the plugin
// belongs. The answer is an error (CNI spec, "Error"); help on stdout would be an unreadable result. A DEL succeeds, so
// that no pod is kept from ending: the reaper removes records whose namespace is gone.
func refuseCall(verb string, stdout, stderr io.Writer) int {
	e := types.NewError(types.ErrInternal, "this is the halfclose command, not the CNI plugin",
		"move it to another directory, such as /usr/local/bin, and run halfclose install")
	if verb == "DEL" {
		fmt.Fprintln(stderr, "halfclose:", e)
		return exitSuccess
	}
	data, err := json.Marshal(e)
	if err == nil {
		_, _ = fmt.Fprintf(stdout, "%s\n", data)
	}
	return exitFailure
}
