// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import "github.com/halfclose/halfclose/pkg/netns"

// inspectRoot tries whether the host's file system is where it is said to be, as the reaper does when it starts.
func inspectRoot(dir string) error {
	root, err := netns.NewRoot(dir)
	if err != nil {
		return err
	}
	return root.Close()
}

// judgeRoot says something only where it is not: a reaper with the same --host-root does not start.
func judgeRoot(err error) []Finding {
	if err == nil {
		return nil
	}
	return []Finding{{
		Check: "host-root", Level: Fail, What: err.Error() + ": a reaper does not start with this --host-root",
		Do: "mount the host's root there, or set --host-root (HALFCLOSE_HOST_ROOT) to where it is; on the host itself leave it out",
	}}
}
