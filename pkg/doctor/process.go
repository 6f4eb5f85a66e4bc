// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// process is what this process may do, and where it is.
type process struct {
	err                 error // why that is not known
	uid                 int
	effective, bounding capabilities
	noNewPrivs          bool
	seccomp             int // as in /proc/PID/status: 0 no filter, 1 strict, 2 filter
	userNS              place
	pidNS               place
	mountNS             place
}

// place is whether a process is in the host's own namespace of a kind.
type place int

const (
	unknown place = iota
	onHost
	elsewhere
)

// inspectProcess reads what a proc file system reports of this process.
func inspectProcess(proc string) process {
	p := process{uid: os.Geteuid()}
	text, err := os.ReadFile(filepath.Join(proc, "self/status"))
	if err == nil {
		err = p.parseStatus(string(text))
	}
	p.err = err
	ns := func(pid, kind string) uint64 { return hostfs.NamespaceInode(filepath.Join(proc, pid, "ns", kind)) }
	p.userNS = fixedPlace(ns("self", "user"), hostfs.InitialUserNS)
	p.pidNS = fixedPlace(ns("self", "pid"), hostfs.InitialPIDNS)
	p.mountNS = mountPlace(ns("self", "mnt"), ns("1", "mnt"), p.pidNS)
	return p
}

func fixedPlace(own, host uint64) place {
	switch own {
	case 0:
		return unknown
	case host:
		return onHost
	}
	return elsewhere
}

// mountPlace compares with the first process's mount namespace where the host's has no fixed number.
func mountPlace(own, first uint64, pidNS place) place {
	switch {
	case own == 0:
		return unknown
	case own == hostfs.InitialMountNS:
		return onHost
	case pidNS == elsewhere: // what has processes of its own has mounts of its own
		return elsewhere
	case first == 0 || pidNS == unknown:
		return unknown
	case own == first:
		return onHost
	}
	return elsewhere
}

// parseStatus reads a /proc/PID/status (proc_pid_status(5)).
func (p *process) parseStatus(text string) error {
	var got int
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		var err error
		switch key {
		case "CapEff":
			got++
			err = p.effective.parse(value)
		case "CapBnd":
			got++
			err = p.bounding.parse(value)
		case "NoNewPrivs":
			p.noNewPrivs = value == "1"
		case "Seccomp":
			p.seccomp, err = strconv.Atoi(value)
		}
		if err != nil {
			return fmt.Errorf("read %s of /proc/self/status: %w", key, err)
		}
	}
	if got < 2 {
		return fmt.Errorf("/proc/self/status does not say what the capabilities are")
	}
	return nil
}
