// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"crypto/sha512"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/halfclose/halfclose/pkg/policy"
)

// cnitoolCaller is the command line of the CNI project. It names the container after the path of its
// namespace.
type cnitoolCaller struct{}

func (cnitoolCaller) command(t *testing.T, verb, netns string, annotations map[string]string) error {
	t.Helper()
	cmd := exec.Command(program(t, "cnitool"), verb, network, netns)
	cmd.Env = append(os.Environ(), "CNI_PATH="+pluginDir)
	if annotations != nil {
		b, err := json.Marshal(map[string]any{policy.CapabilityPodAnnotations: annotations})
		if err != nil {
			t.Fatal(err)
		}
		cmd.Env = append(cmd.Env, "CAP_ARGS="+string(b))
	}
	_, err := try(cmd)
	return err
}

func (c cnitoolCaller) add(t *testing.T, p *pod, annotations map[string]string) error {
	t.Helper()
	sum := sha512.Sum512([]byte(p.netns))
	p.id = fmt.Sprintf("cnitool-%x", sum[:10])
	return c.command(t, "add", p.netns, annotations)
}

func (c cnitoolCaller) del(t *testing.T, p *pod) error {
	t.Helper()
	return c.command(t, "del", p.netns, nil)
}

func (c cnitoolCaller) check(t *testing.T, p *pod) error {
	t.Helper()
	return c.command(t, "check", p.netns, nil)
}

// gc calls GC without a list of valid attachments: cnitool has no way to pass one.
func (c cnitoolCaller) gc(t *testing.T, valid ...*pod) error {
	t.Helper()
	if len(valid) > 0 {
		return errors.ErrUnsupported
	}
	return c.command(t, "gc", "/none", nil)
}

func (c cnitoolCaller) status(t *testing.T) error {
	t.Helper()
	return c.command(t, "status", "/none", nil)
}
