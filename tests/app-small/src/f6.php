<?php

return 6;
