// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/reaper"
)

func socketsCommand(e *env) *cobra.Command {
	var q reaper.SocketQuery
	cmd := &cobra.Command{
		Use:   "sockets",
		Short: "List the half-closed sockets, and why each is spared",
		Long: `List the half-closed sockets of all registered namespaces: how old each is, what
is queued in it, and what the reaper will do about it and why.

What is listed is what the reaper knows from its last look at each. With --all or
--netns it looks now, at sockets in every state.`,
		Example: `  halfclose sockets                          # each half-closed socket, oldest first
  halfclose sockets --owners                 # and the processes that hold it
  halfclose sockets --all                    # look now, at every TCP socket
  halfclose sockets --netns /run/netns/web   # one namespace, registered or not`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if q.Netns != "" { // the reaper works in another directory
				var err error
				if q.Netns, err = filepath.Abs(q.Netns); err != nil {
					return err
				}
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			list, err := client.Sockets(cmd.Context(), q)
			if err != nil {
				return err
			}
			if e.output == "json" {
				err = printJSON(e.out, list)
			} else {
				err = e.printSockets(list.Sockets, q.Owners)
			}
			if err == nil && len(list.Problems) > 0 {
				err = fmt.Errorf("not everything could be looked at: %s", clean(strings.Join(list.Problems, "; ")))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&q.All, "all", false, "look now, at every TCP socket of the registered namespaces")
	cmd.Flags().StringVar(&q.Netns, "netns", "", "look now, at every TCP socket of the namespace at this path, registered or not")
	cmd.Flags().BoolVar(&q.Owners, "owners", false, "find the processes that hold each socket (walks over /proc)")
	e.outputFlag(cmd)
	return cmd
}

func (e *env) printSockets(views []reaper.SocketView, owners bool) error {
	header := []string{"POD", "STATE", "LOCAL", "PEER", "AGE", "IDLE", "RECV-Q", "SEND-Q", "VERDICT", "WHY"}
	if owners {
		header = append(header, "OWNERS")
	}
	t := newTable(e.out, header...)
	for _, v := range views {
		row := []string{
			podName(v.Pod, v.ContainerID), v.State.String(), v.Local, v.Peer, orDash(v.Age), orDash(v.Idle),
			strconv.FormatUint(uint64(v.RQueue), 10), strconv.FormatUint(uint64(v.WQueue), 10), v.Verdict.String(), v.Why,
		}
		if owners {
			row = append(row, holders(v))
		}
		t.row(row...)
	}
	return t.flush()
}

// holders lists who holds a socket.
func holders(v reaper.SocketView) string {
	if len(v.Owners) == 0 {
		return "-"
	}
	names := make([]string, 0, len(v.Owners))
	for _, p := range v.Owners {
		names = append(names, fmt.Sprintf("%s[%d]", p.Command, p.PID))
	}
	return strings.Join(names, " ")
}
