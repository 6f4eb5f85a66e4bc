// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command noop is a chained CNI plugin that does nothing but print its prevResult: what a plugin process
// costs at the least, for comparing with halfclose's own ADD.
package main

import (
	"encoding/json"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

func main() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: nothing, Check: nothing, GC: nothing, Status: nothing},
		version.PluginSupports("0.3.1", "0.4.0", "1.0.0", "1.1.0"), "")
}

func add(args *skel.CmdArgs) error {
	var conf types.PluginConf
	if err := json.Unmarshal(args.StdinData, &conf); err != nil {
		return types.NewError(types.ErrDecodingFailure, "read network configuration", err.Error())
	}
	if err := version.ParsePrevResult(&conf); err != nil {
		return types.NewError(types.ErrDecodingFailure, "read prevResult", err.Error())
	}
	if conf.PrevResult == nil {
		return types.NewError(types.ErrInvalidNetworkConfig, "noop must be chained after a main plugin", "")
	}
	return types.PrintResult(conf.PrevResult, conf.CNIVersion)
}

func nothing(*skel.CmdArgs) error { return nil }
