// SPDX-License-Identifier: MIT
#pragma once

/// The version of eso, the only place where it is written.
#define ESO_VERSION "0.1.0"
