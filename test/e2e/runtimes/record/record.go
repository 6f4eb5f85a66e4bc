// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Package record is a CNI plugin that notes how a runtime calls the plugins of a network, and the reader of
// those notes.
package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

const (
	// Notes is the file with the notes, a line a call.
	Notes = "/var/lib/e2e/calls.json"
	// FailADD is a file that makes the plugin named Last fail ADD while the file exists.
	FailADD = "/var/lib/e2e/fail-add"
	// Last is the name under which the plugin is the last of a chain.
	Last = "last"
)

// Call is one call of a plugin.
type Call struct {
	Plugin      string // the name of its binary
	Command     string
	ContainerID string
	Netns       string            // CNI_NETNS
	Args        map[string]string // CNI_ARGS
	Config      struct {
		CNIVersion    string
		Name          string
		RuntimeConfig map[string]json.RawMessage
		PrevResult    json.RawMessage
	}
}

// Plugin is the plugin: what it reads is its configuration, what it writes its answer.
func Plugin(stdin io.Reader, stdout io.Writer) error {
	conf, err := io.ReadAll(stdin)
	if err != nil {
		return err
	}
	c := Call{
		Plugin: filepath.Base(os.Args[0]), Command: os.Getenv("CNI_COMMAND"),
		ContainerID: os.Getenv("CNI_CONTAINERID"), Netns: os.Getenv("CNI_NETNS"), Args: make(map[string]string),
	}
	for arg := range strings.SplitSeq(os.Getenv("CNI_ARGS"), ";") {
		if key, value, ok := strings.Cut(arg, "="); ok {
			c.Args[key] = value
		}
	}
	if err := json.Unmarshal(conf, &c.Config); err != nil {
		return err
	}
	if err := c.note(); err != nil {
		return err
	}
	switch c.Command {
	case "VERSION":
		return json.NewEncoder(stdout).Encode(version.All)
	case "ADD":
		if _, err := os.Stat(FailADD); err == nil && c.Plugin == Last {
			return errors.Join(types.NewError(100, "it was configured to fail", "").Print(), errors.New("it was configured to fail"))
		}
		_, err := stdout.Write(c.Config.PrevResult)
		return err
	}
	return nil
}

// note adds a line to the notes, in one write: others add theirs at the same time.
func (c Call) note() error {
	line, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(Notes), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(Notes, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// Read returns the notes, oldest first.
func Read() (calls []Call, err error) {
	b, err := os.ReadFile(Notes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(b)) {
		var c Call
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", Notes, err, line)
		}
		calls = append(calls, c)
	}
	return calls, nil
}
