// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/containernetworking/cni/pkg/types"
)

// isMisplaced reports whether a container runtime has executed the command as a CNI plugin: it is where the plugin belongs.
func isMisplaced(args []string, getenv func(string) string) bool {
	return len(args) == 0 && getenv("CNI_COMMAND") != ""
}

// refuseCall answers a runtime's call with an error (CNI spec, "Error"). Help on stdout would be an unreadable result.
func refuseCall(stdout io.Writer) int {
	e := types.NewError(types.ErrInternal, "this is the halfclose command, not the CNI plugin",
		"move it to another directory, such as /usr/local/bin, and run halfclose install")
	data, err := json.Marshal(e)
	if err == nil {
		_, _ = fmt.Fprintf(stdout, "%s\n", data)
	}
	return exitFailure
}
