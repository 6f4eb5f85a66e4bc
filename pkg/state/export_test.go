// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

// TemporaryName is the name of the file that a Put leaves if it is killed before its rename.
var TemporaryName = temporaryName

// MaxFileSize bounds a record's file in bytes.
const MaxFileSize = maxFileSize

// MaxPodNameBytes bounds a pod's name, namespace and UID in bytes.
const MaxPodNameBytes = maxPodNameBytes

// LoadSwitch reads the switch of the node, and reports whether it is set.
func LoadSwitch(path string) (Switch, bool, error) {
	s, err := LoadSwitches(path)
	if err != nil || s.Node == nil {
		return Switch{}, false, err
	}
	return *s.Node, true, nil
}
