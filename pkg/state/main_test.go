// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/halfclose/halfclose/internal/inject"
	"github.com/halfclose/halfclose/pkg/state"
)

// envOrder makes this test binary execute one operation: an order as JSON.
const envOrder = "_HALFCLOSE_STATE_ORDER"

// order is an operation on a state directory.
type order struct {
	Dir    string
	Op     string // put, add, adopt, delete, sharing, prune or switch
	Record state.Record
	Switch state.Switch
}

func TestMain(m *testing.M) {
	err := inject.Main()
	if text := os.Getenv(envOrder); err == nil && text != "" {
		var o order
		if err = json.Unmarshal([]byte(text), &o); err == nil {
			err = o.execute()
		}
		if err == nil {
			os.Exit(0)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func (o order) execute() error {
	s := state.New(o.Dir)
	switch o.Op {
	case "put":
		return s.Put(o.Record)
	case "adopt":
		_, err := s.Adopt(o.Record)
		return err
	case "delete":
		return s.Delete(o.Record.Attachment)
	case "sharing":
		_, err := s.DeleteSharing(o.Record.ContainerID, o.Record.Netns)
		return err
	case "switch":
		return state.StoreSwitch(state.SwitchPath(o.Dir), o.Switch)
	}
	return fmt.Errorf("there is no operation %q", o.Op)
}
